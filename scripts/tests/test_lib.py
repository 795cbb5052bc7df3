"""The shell functions that every check runs through: a step that fails must fail the script."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[1] / "lib.sh"


def run(body: str) -> subprocess.CompletedProcess[str]:
    """A script that has these lines after the library."""
    script = f"set -euo pipefail\n. '{LIB}'\n{body}\n"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    "work",
    [
        "false",
        "true; false",
        "false; true",
        "if true; then false; true; fi",
        "for i in 1 2; do [ $i = 2 ]; done",
        "false | true",
    ],
)
def test_a_step_fails_wherever_its_function_does(work: str) -> None:
    done = run(f"work() {{ {work}; }}\nstep 'the work' work\necho went on")
    assert done.returncode == 1, done.stderr
    assert "went on" not in done.stdout
    assert "error: the work failed" in done.stderr


def test_a_step_that_succeeds_is_followed_by_the_next() -> None:
    done = run('work() { true; echo "$1 $WITH"; }\nWITH=that step one work this\nstep two true\necho went on')
    assert (done.returncode, done.stdout) == (0, "this that\nwent on\n"), done.stderr
    assert "== two" in done.stderr


def test_the_script_is_as_strict_after_a_step_as_before() -> None:
    done = run("step one true\nfalse\necho went on")
    assert (done.returncode, done.stdout) == (1, "")
