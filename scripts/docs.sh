#!/usr/bin/env bash
# make docs: the pages of docs/ as a site, in build/book. Takes an mdbook that is on the PATH, else one version from PyPI.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO"

need_python

mdbook="$(command -v mdbook || true)"
[ -n "$mdbook" ] || mdbook="$(dirname "$(python3 scripts/dev_env.py book)")/mdbook"
# mdbook says what is wrong in a line of its log, and ends with 0 all the same.
said="$("$mdbook" build 2>&1)" || die "mdbook failed" "$said"
if grep -Eq '(WARN|ERROR)' <<<"$said"; then die "mdbook finds fault with docs/" "$said"; fi
[ -f build/book/tutorial.html ] || die "mdbook wrote no pages" "$said"
say "the pages are in build/book: open build/book/index.html"
