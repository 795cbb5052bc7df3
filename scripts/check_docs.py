"""Holds the documents together: no dead link, no dead anchor, and no page that the book's table of contents leaves out.

    python3 scripts/check_docs.py             checks; each mistake says where it is
    python3 scripts/check_docs.py --update    also writes the list of decisions in docs/SUMMARY.md anew

Looks at every Markdown file that git knows of or would add. Addresses of the web are not asked: a check must not depend
on other people's machines.
"""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = Path(__file__).resolve().parent.parent
DOCS = REPO / "docs"
SUMMARY = DOCS / "SUMMARY.md"
FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)|<(?:a|img)[^>]* (?:href|src)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)
BEGIN, END = "<!-- decisions: scripts/check_docs.py --update -->\n", "<!-- end of decisions -->\n"


def markdown() -> list[Path]:
    """Tracked Markdown files, and those that would be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout
    return sorted(REPO / path for path in set(listed.split("\0")) if path and (REPO / path).is_file())


def blanked(pattern: re.Pattern[str], text: str) -> str:
    """The text with spaces for what matches, so that places in it stay."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub and mdbook make it."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors of a page; the second of one name has `-1`."""
    seen: dict[str, int] = {}
    found: set[str] = set()
    for heading in HEADING.findall(blanked(FENCE, path.read_text())):
        name = slug(heading)
        count = seen.get(name, 0)
        seen[name] = count + 1
        found.add(f"{name}-{count}" if count else name)
    found.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", path.read_text()))
    return frozenset(found)


def links(text: str) -> Iterator[tuple[int, str]]:
    """Line and target of each link outside of code."""
    bare = blanked(CODE, blanked(COMMENT, blanked(FENCE, text)))
    for match in LINK.finditer(bare):
        yield text.count("\n", 0, match.start()) + 1, match[1] or match[2]


def dead(path: Path, target: str) -> str | None:
    """What is wrong with a link, if anything."""
    if re.match(r"[a-z]+:", target):
        return None
    name, _, anchor = target.partition("#")
    there = (path.parent / name).resolve() if name else path
    if not there.is_relative_to(REPO):
        return "leads out of the repository"
    if not there.exists():
        return "there is no such file"
    if anchor and there.suffix == ".md" and anchor not in anchors(there):
        return f"{there.relative_to(REPO)} has no heading #{anchor}"
    return None


def title(path: Path) -> str:
    """A page's first heading."""
    found = HEADING.search(path.read_text())
    return found[1] if found else path.stem


def decisions() -> str:
    """The part of the table of contents that lists the decisions, with its two markers."""
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    return BEGIN + "".join(f"  - [{title(page)}](decisions/{page.name})\n" for page in pages) + END


def mistakes() -> Iterator[str]:
    """Every mistake, ready to print."""
    for path in markdown():
        for line, target in links(path.read_text()):
            if wrong := dead(path, target):
                yield f"{path.relative_to(REPO)}:{line}: {target}: {wrong}"
    summary = SUMMARY.read_text()
    listed = {(DOCS / target).resolve() for _, target in links(summary)}
    for page in sorted(DOCS.rglob("*.md")):
        if page != SUMMARY and page not in listed:
            yield f"docs/SUMMARY.md: {page.relative_to(DOCS)} is not in it (decisions: scripts/check_docs.py --update)"
    if decisions() not in summary:
        yield "docs/SUMMARY.md: its list of decisions is not that of docs/decisions: run scripts/check_docs.py --update"


def main() -> int:
    """Checks, or updates first."""
    if "--update" in sys.argv[1:]:
        before, _, rest = SUMMARY.read_text().partition(BEGIN)
        SUMMARY.write_text(before + decisions() + rest.partition(END)[2])
    found = list(mistakes())
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"{len(markdown())} pages, and every link in them leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
