"""House rules that compilers and linters do not know: small files, opened with words, no loose ends, one style of log.

    python3 scripts/check_tidy.py

Looks at every file that git knows of or would add. Each rule is a function from a file to its mistakes; each mistake
says where it is and what would be right.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
LONGEST_FILE = 450
"""Lines of a source file: what one can read in a sitting. A longer one has two reasons to change."""

Mistake = tuple[int, str]
"""A line number, from 1, and what is wrong there."""
Rule = Callable[[str, str], Iterator[Mistake]]
"""From a file's path and text to its mistakes."""

CODE = (".rs", ".py", ".sh", ".sql", ".toml")
LOOSE_ENDS = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b"
)  # spelled so as not to find itself
MACHINES_PATH = re.compile(r"""(?<![\w.~$}/>-])/(home|Users|root|work|mnt)/(?!(?:ada|someone|you)\b)[\w.-]+""")
"""Home folders of made-up people are fine in tests and guides."""
LOG_MACRO = re.compile(r"\b(?:tracing::)?(?:trace|debug|info|warn|error)!\s*\(")
ERROR_ATTRIBUTE = re.compile(r'#\[error\(\s*"((?:[^"\\]|\\.)*)"')
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
CAPITAL_START = re.compile(r"[A-Z][a-z]+\b")
"""A sentence's capital. `HTTP`, `SQLite` and `SIGTERM` may begin a message: they are always written so."""


def line_of(text: str, offset: int) -> int:
    """The line number of an offset."""
    return text.count("\n", 0, offset) + 1


def small(path: str, text: str) -> Iterator[Mistake]:
    """Source files are short."""
    lines = text.count("\n")
    if path.endswith((".rs", ".py")) and lines > LONGEST_FILE:
        yield LONGEST_FILE + 1, f"{lines} lines, more than {LONGEST_FILE}: split it by reasons to change"


def opens_with_words(path: str, text: str) -> Iterator[Mistake]:
    """Modules say what they are for. A module's `tests.rs` and an empty Python package need no words."""
    if path.endswith(".rs") and not path.endswith("/tests.rs") and not text.startswith("//! "):
        yield 1, "opens without //!: say what the module is for, why it is this way, what it must not do"
    if path.endswith(".py") and text.strip() and not re.match(r'(#![^\n]*\n)?r?"""', text):
        yield 1, "opens without a docstring: say what the module is for"


def no_loose_ends(path: str, text: str) -> Iterator[Mistake]:
    """Work that is left is an issue, not a note in the code."""
    if path.endswith(CODE):
        for match in LOOSE_ENDS.finditer(text):
            yield line_of(text, match.start()), f"{match.group()}: do it, or make it an issue"


def no_machines_paths(_path: str, text: str) -> Iterator[Mistake]:
    """Nothing depends on, or tells of, where somebody's files lie."""
    for match in MACHINES_PATH.finditer(text):
        yield line_of(text, match.start()), f"{match.group()}: a path of one machine"


def arguments_of(text: str, start: int) -> str:
    """The text between a macro's parentheses, the opening one being just before `start`. Strings are stepped over."""
    depth, at = 1, start
    while at < len(text) and depth:
        if text[at] == '"' and (string := STRING.match(text, at)):
            at = string.end()
            continue
        depth += (text[at] in "([{") - (text[at] in ")]}")
        at += 1
    return text[start : at - 1]


def message_of(arguments: str) -> str | None:
    """The message of a log call: the string that is an argument of its own, not a field's value."""
    for match in STRING.finditer(arguments):
        if not re.search(r"(=|[%?]|\()\s*$", arguments[: match.start()]):
            return match.group(1)
    return None


def style(message: str) -> str | None:
    """What is wrong with a message's words, if anything."""
    if CAPITAL_START.match(message):
        return "starts with a capital"
    if message.endswith((".", "!")) and not message.endswith(".."):
        return "ends with a full stop"
    return None


def logs_in_one_style(path: str, text: str) -> Iterator[Mistake]:
    """Log messages and errors: lower case, no full stop; values are fields, so that logs can be searched by message."""
    if not path.endswith(".rs"):
        return
    for match in LOG_MACRO.finditer(text):
        message = message_of(arguments_of(text, match.end()))
        if message is None:
            continue
        if wrong := style(message):
            yield line_of(text, match.start()), f'the log message "{message}" {wrong}'
        if re.search(r"(?<!\{)\{[^{]", message) and message != "{line}":  # a line that a model printed is passed on
            yield line_of(text, match.start()), f'the log message "{message}" has values in it: make them fields'
    for match in ERROR_ATTRIBUTE.finditer(text):
        if wrong := style(match.group(1)):
            yield line_of(text, match.start()), f'the error "{match.group(1)}" {wrong}'


RULES: tuple[Rule, ...] = (small, opens_with_words, no_loose_ends, no_machines_paths, logs_in_one_style)


def mistakes(path: str, text: str) -> list[str]:
    """Every mistake in one file, ready to print."""
    return [f"{path}:{line}: {what}" for rule in RULES for line, what in rule(path, text)]


def namesakes(paths: list[str]) -> list[str]:
    """Test modules of the black box with one name: pytest takes them for one, and runs none."""
    seen: dict[str, str] = {}
    found: list[str] = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        if not (folder.startswith("tests/") and name.startswith("test_") and name.endswith(".py")):
            continue
        if name in seen:
            found.append(f"{path}:1: {seen[name]} has the same name: call one of them differently")
        seen.setdefault(name, path)
    return found


def files() -> list[str]:
    """Tracked files, and those that would be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout
    return sorted(path for path in set(listed.split("\0")) if path and (REPO / path).is_file())


def main() -> int:
    """Checks every text file of the repository."""
    checked, paths = 0, files()
    found = namesakes(paths)
    for path in paths:
        try:
            text = (REPO / path).read_text()
        except UnicodeDecodeError:
            continue  # weights and the like
        checked += 1
        found += mistakes(path, text)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"{checked} files are tidy")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
