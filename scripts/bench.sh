#!/usr/bin/env bash
# make bench: the micro benches of the crates, then Cresset beside its peers; a few minutes once all is built.
# make bench-full: every peer and scenario, longer; three quarters of an hour. Run it on a quiet machine; compare on the same one.
#
#   scripts/bench.sh [--micro | --serving] [--full] [further flags for benches/serving/run.py]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO"

need_rust
need_python

micro=yes serving=yes full=()
while [ $# -gt 0 ]; do
  case "$1" in
    --micro) serving= ;;
    --serving) micro= ;;
    --full) full=(--full) ;;
    *) break ;;
  esac
  shift
done

micro_benches() {
  # What they measure stands at the top of each; the store's is shortened here unless the caller or --full says otherwise.
  local benches
  benches="$(compgen -G "crates/*/benches/*.rs")" || die "no crate has benches (crates/*/benches)"
  say "micro benches: $(tr '\n' ' ' <<<"$benches")"
  if [ ${#full[@]} = 0 ]; then
    export CRESSET_BENCH_TASKS="${CRESSET_BENCH_TASKS:-20000}" CRESSET_BENCH_QUEUED="${CRESSET_BENCH_QUEUED:-100000}"
    export CRESSET_BENCH_ROUNDS="${CRESSET_BENCH_ROUNDS:-1}"
  fi
  cargo bench --workspace --locked --bench '*'
}

if [ -n "$micro" ]; then step "micro benches" micro_benches; fi
if [ -n "$serving" ]; then
  step "build" cargo build --release --locked -p cresset -p cresset-loadgen
  step "serving" python3 benches/serving/run.py ${full[@]+"${full[@]}"} "$@"
fi
