#!/usr/bin/env bash
# make demo: compiles Cresset, serves examples/digits, submits every held-out image at once, says how to go on.
# DEMO_KEEP=1 leaves the server running at the end, until Ctrl-C.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO"

need_rust
need_python

# What this will cost, before it costs it.
todo=()
[ -x target/release/cresset ] ||
  todo+=("compile Cresset in release mode: about 5 minutes on 2 cores, less on more; 1 GB under target/")
compgen -G "$CACHE/envs/*/lib/python*/site-packages/torch" >/dev/null ||
  todo+=("fetch PyTorch from PyPI: about 5 GB under $CACHE; a minute on a fast line, longer on a slow one")
if [ ${#todo[@]} -gt 0 ]; then
  say "This is the first demo here. It will:"
  for line in "${todo[@]}"; do say "  - $line"; done
  say "The next one starts in seconds."
fi

cargo build --release --locked -p cresset
target/release/cresset env build examples/digits
client="$(python3 scripts/dev_env.py client)"

image="$(head -n 1 examples/digits/heldout/images.jsonl)"
curl_line() {
  printf "  curl -H 'content-type: application/json' -d '{\"input\": %s}' %s/v1/models/digits/predict\n" "$image" "$1"
}

if [ -n "${DEMO_KEEP:-}" ]; then
  listen=127.0.0.1:8700
  python3 scripts/served.py examples/digits --listen "$listen" --keep -- bash -c '
    "$1" examples/digits/demo.py --url "$2" && printf "\nAsk it yourself, from another terminal:\n%s\n" "$3"
  ' demo "$client" "{url}" "$(curl_line "http://$listen")"
else
  python3 scripts/served.py examples/digits -- "$client" examples/digits/demo.py --url "{url}"
  cat <<EOF

How to go on: serve it (make run, or DEMO_KEEP=1 make demo),

  target/release/cresset serve examples/digits

and from another terminal ask about one image:

$(curl_line http://127.0.0.1:8700)

README.md says how to serve a model of your own.
EOF
fi
