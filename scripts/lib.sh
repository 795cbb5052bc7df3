# Shared by the scripts that the Makefile calls: what must be there, and where the time went. Source it; it runs nothing.

REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
CACHE="${CRESSET_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/cresset}"

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $1"
  shift
  for line in "$@"; do say "       $line"; done
  exit 1
}

need_rust() {
  command -v cargo >/dev/null ||
    die "cargo is not on the PATH" "Cresset is compiled from Rust: install it from https://rustup.rs, then open a new shell."
  command -v cc >/dev/null ||
    die "there is no C compiler (cc)" "The embedded store compiles SQLite. On Debian or Ubuntu: apt install build-essential"
}

need_python() {
  command -v python3 >/dev/null ||
    die "python3 is not on the PATH" "Models and the demo's client are Python: install Python 3.10 or newer."
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "python3 is $(python3 -c 'import platform; print(platform.python_version())'), and Cresset needs 3.10 or newer"
  python3 -c 'import ensurepip, venv' 2>/dev/null ||
    die "this python3 cannot make virtual environments (the modules venv and ensurepip are missing)" \
      "On Debian or Ubuntu: apt install python3-venv"
}

# step NAME COMMAND...: runs it, and says how long it took. Ends the script when it fails; a function fails at its first command
# that does. Not `"$@" || die`: bash ignores `set -e` in whatever stands before `||`, in a function's inside as well, so that
# only its last command would count.
step() {
  local name="$1" started=$SECONDS status
  shift
  say "== $name"
  set +e
  (
    set -e
    "$@"
  )
  status=$?
  set -e
  [ "$status" -eq 0 ] || die "$name failed ($((SECONDS - started)) s): $*"
  say "== $name: $((SECONDS - started)) s"
}
