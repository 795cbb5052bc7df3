#!/usr/bin/env bash
# make run [MODELS=folder]: serves models with a release build on 127.0.0.1:8700, until Ctrl-C.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO"

need_rust
need_python

cargo build --release --locked -p cresset
exec target/release/cresset serve "${MODELS:-examples/digits}"
