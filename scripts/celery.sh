#!/usr/bin/env bash
# make celery: one Celery application served by a real Celery worker, then by Cresset; drain rate and latency of both.
# BROKER is redis (one that is started for it; the default), rabbitmq (on its usual port) or amqp://...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO"

need_rust
need_python

python="$(python3 scripts/dev_env.py test)"
cargo build --release --locked -p cresset
exec "$python" examples/celery/compare.py --broker "${BROKER:-redis}" "$@"
