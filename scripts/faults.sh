#!/usr/bin/env bash
# make faults: seeded faults against the real program, and a checker of the promises (docs/reliability.md).
# FAULT_SEEDS=n runs seeds 1 to n (default 500); FAULT_SEED=n runs one and prints its history if anything is found;
# FAULT_FLEET=1 runs gateways and workers on one PostgreSQL instead of one server (seeds 1 to 50 unless told otherwise),
# FAULT_FLEET=mariadb on one MariaDB, FAULT_FLEET=redis and FAULT_FLEET=rabbitmq over a broker;
# FAULT_JOBS=n at a time; CRESSET_BIN=path takes a program as it is and compiles none.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO"

need_rust
need_python

step "python environment" python3 scripts/dev_env.py test
python="$(python3 scripts/dev_env.py test)"
if [ -z "${CRESSET_BIN:-}" ]; then
  step "program" cargo build --release --locked -p cresset
  CRESSET_BIN="$REPO/target/release/cresset"
fi
CRESSET_BIN="$(realpath "$CRESSET_BIN")"
export CRESSET_BIN

if [ -n "${FAULT_SEED:-}" ]; then
  words=(--seed "$FAULT_SEED")
else
  usual=500
  [ -z "${FAULT_FLEET:-}" ] || usual=50
  words=(--seeds "${FAULT_SEEDS:-$usual}" --first "${FAULT_FIRST:-1}")
fi
case "${FAULT_FLEET:-}" in
  "") ;;
  mariadb | redis | rabbitmq) words+=(--fleet --store "$FAULT_FLEET") ;;
  *) words+=(--fleet) ;;
esac
[ -z "${FAULT_JOBS:-}" ] || words+=(--jobs "$FAULT_JOBS")
cd tests
exec "$python" -m faults "${words[@]}"
