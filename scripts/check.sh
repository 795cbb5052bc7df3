#!/usr/bin/env bash
# make check: everything that can be said of the code without running it. Edits nothing; make fmt does.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO"

need_rust
need_python

arrows() {
  cargo metadata --no-deps --locked --format-version 1 | "$python" scripts/check_arrows.py
}

dependencies() {
  "$python" scripts/check_deps.py
  # Not required: docs/decisions/0006 says why.
  if command -v cargo-deny >/dev/null; then
    cargo deny --locked check bans licenses sources
  else
    say "cargo-deny is not installed: advisories are not looked up; the rest of deny.toml was checked"
  fi
}

# The tests that compare docs/reference with what the code would write. make test runs them too; here they come with the
# other things that a change forgets. Counted, so that a renamed one is missed.
GENERATED_TESTS=(is_current the_reference_page_is_not_stale the_committed_reference_pages_are_fresh)
GENERATED_COUNT=6

generated() {
  local passed
  passed="$(
    cargo test --workspace --all-features --locked --quiet --lib --bins --tests -- "${GENERATED_TESTS[@]}" |
      tee -a /dev/stderr | sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' | awk '{ all += $1 } END { print all + 0 }'
  )"
  [ "$passed" -ge "$GENERATED_COUNT" ] ||
    die "$passed tests of generated pages ran, fewer than $GENERATED_COUNT: has one been renamed? See scripts/check.sh"
}

shells() {
  local script
  for script in scripts/*.sh .ci/run; do bash -n "$script"; done
}

step "python environment" python3 scripts/dev_env.py test
python="$(python3 scripts/dev_env.py test)"
bin="$(dirname "$python")"

step "format (cargo fmt)" cargo fmt --all --check
step "format (ruff)" "$bin/ruff" format --check --quiet . python/cresset
step "house rules" "$python" scripts/check_tidy.py
step "dependency arrows" arrows
step "dependencies" dependencies
step "Python API page" "$python" scripts/python_api.py
step "documents" "$python" scripts/check_docs.py
step "book" scripts/docs.sh
step "shell scripts" shells
step "ruff" "$bin/ruff" check --quiet . python/cresset
step "types (repository)" "$bin/pyright" --pythonpath "$python"
step "types (python/cresset)" "$bin/pyright" --pythonpath "$python" --project python/cresset
step "clippy" cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
# With the features of its own dependencies only, as whoever installs it has it: tests add some.
step "the program alone" cargo check --workspace --all-features --locked
step "generated documents" generated
say "all checks passed"
