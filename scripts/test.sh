#!/usr/bin/env bash
# make test: every test there is. Rust; the Python package on each Python of this machine; then, black box, the program.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO"

need_rust
need_python

rust_tests() {
  if command -v cargo-nextest >/dev/null; then
    cargo nextest run --workspace --all-features --locked --no-fail-fast --test-threads "$at_a_time"
    cargo test --workspace --all-features --locked --doc --quiet
  else
    cargo test --workspace --all-features --locked
  fi
}

# The interpreter of one minor version, if the machine has one that runs: on the PATH, or pyenv's.
interpreter() {
  local candidate
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
    if "$candidate" -c '' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
}

package_tests() {
  (cd python/cresset && "$1" -m pytest -n "$at_a_time" --dist loadfile "${@:2}")
}

step "python environment" python3 scripts/dev_env.py test
python="$(python3 scripts/dev_env.py test)"
# Tests mostly wait, for disks, databases and processes: one more at a time than there are cores keeps these busy.
at_a_time="$("$python" -c 'import os; print(min(8, 1 + (os.cpu_count() or 1)))')"

step "rust" rust_tests
step "scripts" "$python" -m pytest scripts/tests
step "python package, with torch" package_tests "$python"
for version in 3.10 3.11 3.12 3.13; do
  found="$(interpreter "$version")"
  if [ -z "$found" ]; then
    say "== python package on $version: SKIPPED, this machine has no Python $version"
    continue
  fi
  step "environment for $version" python3 scripts/dev_env.py bare --python "$found"
  bare="$(python3 scripts/dev_env.py bare --python "$found")"
  step "python package on $version, without torch" package_tests "$bare" -m "not torch"
done

# Each supported Django on a Python that it takes: the lowest one there is for the oldest, the highest for the newest.
django_tests() {
  (cd python/cresset/tests_django && "$1" -m pytest -n "$at_a_time" --dist loadfile "${@:2}")
}
for pair in "4.2 3.10 3.11 3.12" "5.2 3.11 3.12 3.10 3.13" "6.0 3.13 3.12"; do
  read -r django versions <<<"$pair"
  found=""
  for version in $versions; do
    [ -n "$found" ] || found="$(interpreter "$version")"
  done
  if [ -z "$found" ]; then
    say "== Django $django: SKIPPED, this machine has no Python that it takes ($versions)"
    continue
  fi
  step "environment for Django $django" python3 scripts/dev_env.py "django$django" --python "$found"
  step "Django $django" django_tests "$(python3 scripts/dev_env.py "django$django" --python "$found")"
  if [ "$django" = 5.2 ]; then
    # Whoever may make databases here without a password, as CI may.
    if psql -h 127.0.0.1 -U postgres -w -c '' >/dev/null 2>&1; then
      TEST_POSTGRES_HOST=127.0.0.1 step "Django $django on PostgreSQL" \
        django_tests "$(python3 scripts/dev_env.py "django$django" --python "$found")"
    else
      say "== Django on PostgreSQL: SKIPPED, no server on 127.0.0.1 that takes postgres without a password"
    fi
    if mariadb -h 127.0.0.1 -u root -e '' >/dev/null 2>&1; then
      # The admin's pages want the database's tables of time zones, which is nothing of ours.
      TEST_MYSQL_HOST=127.0.0.1 step "Django $django on MariaDB" \
        django_tests "$(python3 scripts/dev_env.py "django$django" --python "$found")" test_inbox.py \
        test_mirror.py::test_a_row_is_what_the_table_would_write_itself test_mirror.py::test_a_submit_under_a_known_key_keeps_its_row
    else
      say "== Django on MariaDB: SKIPPED, no server on 127.0.0.1 that takes root without a password"
    fi
  fi
done
# The program that the tests of its crate were built with: a build without them would compile half of what is here again.
# make check sees to it that it also compiles alone. In the order of their names: a file of one test may be the longest, and would be last.
CRESSET_BIN="$REPO/target/debug/cresset" step "black box" "$python" -m pytest tests -n "$at_a_time" --dist loadfile --no-loadscope-reorder --durations 25
say "all tests passed"
