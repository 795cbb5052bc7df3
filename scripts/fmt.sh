#!/usr/bin/env bash
# make fmt: formats Rust and Python, and sorts imports. The only word that edits.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO"

need_rust
need_python

bin="$(dirname "$(python3 scripts/dev_env.py bare)")"
cargo fmt --all
"$bin/ruff" check --quiet --fix --select I . python/cresset
"$bin/ruff" format --quiet . python/cresset
