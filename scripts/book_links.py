"""A preprocessor of mdbook: links that leave docs/ lead to the repository's pages, as the site has only docs/.

    python3 scripts/book_links.py supports html     mdbook asks whether it is wanted for a kind of output
    python3 scripts/book_links.py                   [context, book] as JSON on stdin, the book on stdout

On GitHub the same links are relative and work as they are. Needs nothing but the standard library.
"""

from __future__ import annotations

import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
REPOSITORY = "https://github.com/cresset/cresset"
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
"""A link to a file: the opening, the path, the anchor with the closing. Addresses of the web have a colon."""


def rewritten(text: str, page: str) -> str:
    """A page's text, its path being relative to docs/."""

    def changed(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), match[2]))
        if path.startswith("docs/"):
            return match[0]
        kind = "tree" if (REPO / path).is_dir() else "blob"
        return f"{match[1]}{REPOSITORY}/{kind}/main/{path}{match[3]}"

    return LINK.sub(changed, text)


def walk(items: list[Any]) -> None:
    """Rewrites chapters and those below them, in place."""
    for item in items:
        if isinstance(item, dict) and (chapter := item.get("Chapter")):
            if page := chapter.get("source_path"):
                chapter["content"] = rewritten(chapter["content"], page)
            walk(chapter["sub_items"])


def main() -> int:
    """Answers mdbook."""
    if sys.argv[1:2] == ["supports"]:
        return 0
    _, book = json.load(sys.stdin)
    walk(book["items"] if "items" in book else book["sections"])
    json.dump(book, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
