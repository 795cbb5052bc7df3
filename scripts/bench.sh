#!/usr/bin/env bash
# make bench: the micro benches of the crates that have some. Run it on a quiet machine; compare on the same one.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO"

need_rust

compgen -G "crates/*/benches/*.rs" >/dev/null || die "no crate has benches yet (crates/*/benches)"
cargo bench --workspace --locked --bench '*'
