#!/usr/bin/env bash
# make django: compiles Cresset and serves examples/django on http://127.0.0.1:8080, uWSGI behind nginx, until Ctrl-C.
# make django-compare: a slow model inline in the view, at Celery and at Cresset, in turns; prints the figures.
# DJANGO_ROUNDS (3), DJANGO_SECONDS (8) of a phase; DJANGO_BUILD=debug takes target/debug, to try it, not to measure.
# DATABASE_URL is the site's database (default SQLite); SITE_SERVER=gevent or asgi serves it otherwise; SITE_PORT.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO"

need_rust
need_python

PATH="$PATH:/usr/sbin:/usr/local/sbin"
if ! command -v nginx >/dev/null && [ "${SITE_SERVER:-uwsgi}" != asgi ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing nginx (Debian's nginx-light)"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nginx-light >/dev/null
  else
    die "nginx is not installed" "On Debian or Ubuntu: sudo apt install nginx-light" \
      "Or without it: SITE_SERVER=asgi make django"
  fi
fi
build="${DJANGO_BUILD:-release}"
case "$build" in
  release)
    [ -x target/release/cresset ] || say "compiling Cresset in release mode: about 5 minutes on 2 cores, once"
    cargo build --release --locked -p cresset
    ;;
  debug) cargo build --locked --workspace ;;
  *) die "DJANGO_BUILD is release or debug, not $build" ;;
esac
cresset="target/$build/cresset"
say "the model's environment: PyTorch from PyPI when it is not cached yet (about 5 GB)"
"$cresset" env build examples/digits
python="$(python3 scripts/dev_env.py site)"

if [ "${1:-}" = compare ]; then
  exec python3 scripts/django_site.py --python "$python" --server "${SITE_SERVER:-uwsgi}" --cresset "$cresset" --celery -- \
    "$python" examples/django/compare.py --url "{url}" --build "$build" \
    --rounds "${DJANGO_ROUNDS:-3}" --seconds "${DJANGO_SECONDS:-8}" "${@:2}"
fi
exec python3 scripts/django_site.py --python "$python" --server "${SITE_SERVER:-uwsgi}" --cresset "$cresset" \
  --port "${SITE_PORT:-8080}" --keep
