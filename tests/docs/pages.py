"""What a page of docs/ has for a machine to do: files to write, programs to start, commands with what they print.

A fenced block says so after its language, where nobody who reads the page sees it:

    ```toml file=mood/model.toml      is written to that file
    ```python append=site/urls.py     is added to it
    ```console serve                  its one command goes on running, until the next such block or the page's end
    ```console run with=nginx         its commands are run where that program is; else they are left out, in print
    ```console run                    each `$ command` must succeed and print what stands below it; `...` is anything

A command goes on in the next line where its line ends with a backslash. One with nothing below it may print anything.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^( *)```(\w+)((?: +[\w=./-]+)*)\n(.*?)^\1```[ \t]*$", re.MULTILINE | re.DOTALL)
WORDS = {"run", "serve"}


@dataclass(frozen=True)
class Step:
    """One thing to do."""

    kind: str
    """`file`, `append`, `serve` or `run`."""
    text: str
    """A file's text, or a command."""
    line: int
    """Where it stands in its page, from 1."""
    name: str = ""
    """A file's name."""
    prints: str = ""
    """What a command must print."""
    needs: str = ""
    """A program that not every machine has."""


def commands(text: str) -> list[tuple[int, str, str]]:
    """Line in the block, command and what is below it, for each command of a console."""
    found: list[tuple[int, str, str]] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].startswith("$ "):
            raise ValueError(f"a line before the first command: {lines[at]!r}")
        begin, command = at, lines[at][2:]
        while command.endswith("\\"):
            at += 1
            command += "\n" + lines[at]
        at += 1
        below: list[str] = []
        while at < len(lines) and not lines[at].startswith("$ "):
            below.append(lines[at])
            at += 1
        found.append((begin, command, "\n".join(below)))
    return found


def steps(page: Path) -> list[Step]:
    """Everything that a page has to do, in order."""
    whole = page.read_text()
    found: list[Step] = []
    for match in BLOCK.finditer(whole):
        line = whole.count("\n", 0, match.start()) + 2
        body = textwrap.dedent(match[4])
        words = match[3].split()
        needs = "".join(word.removeprefix("with=") for word in words if word.startswith("with="))
        for word in (word for word in words if not word.startswith("with=")):
            key, _, name = word.partition("=")
            if key in {"file", "append"} and name:
                found.append(Step(key, body, line, name=name))
            elif word in WORDS:
                found += [Step(word, text, line + at, prints=below, needs=needs) for at, text, below in commands(body)]
            else:
                raise ValueError(f"{page.name}:{line}: {word!r} after a fence: file=, append=, serve, run or with=")
    return found


def fits(printed: str, expected: str) -> bool:
    """Whether a command printed what the page says. `...` is anything, in a line or across lines."""
    if not expected.strip():
        return True
    parts = [re.escape(part) for part in expected.strip().split("...")]
    return re.fullmatch(".*".join(parts), printed.strip(), re.DOTALL) is not None
