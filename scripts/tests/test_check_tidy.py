"""The house rules find what they are for, and leave alone what is fine."""

from __future__ import annotations

import check_tidy
import pytest

MODULE = "//! Words.\n"


def found(text: str, path: str = "crates/x/src/a.rs") -> list[str]:
    """Mistakes in a file, without its name."""
    return [line.removeprefix(f"{path}:") for line in check_tidy.mistakes(path, text)]


def test_a_file_as_long_as_allowed_is_fine_and_one_line_more_is_not() -> None:
    assert found(MODULE + "\n" * (check_tidy.LONGEST_FILE - 1)) == []
    assert found(MODULE + "\n" * check_tidy.LONGEST_FILE)[0].startswith("451: 451 lines")


def test_modules_open_with_what_they_are_for() -> None:
    assert found("use std::fmt;\n")[0].startswith("1: opens without //!")
    assert found("import os\n", "a.py")[0].startswith("1: opens without a docstring")
    assert found("", "pkg/__init__.py") == []
    assert found('#!/usr/bin/env python3\n"""Words."""\n', "a.py") == []


def test_loose_ends_are_found() -> None:
    note = "TO" + "DO"
    assert found(f"{MODULE}// {note}: later\n") == [f"2: {note}: do it, or make it an issue"]
    assert found(f"{MODULE}// {note}S are other words\n") == []


@pytest.mark.parametrize("place", ["home/jo/x", "Users/jo", "root/.cache", "work/main"])
def test_paths_of_a_machine_are_found(place: str) -> None:
    assert found(f"see `/{place}`\n", "README.md") == [f"1: /{place.replace('/x', '')}: a path of one machine"]


@pytest.mark.parametrize("text", ["~/work/x", "example.com/work/x", "{root}/work/x", "a/home/b", "/var/lib/cresset"])
def test_other_paths_are_fine(text: str) -> None:
    assert found(text, "README.md") == []


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ('info!("Ready")', "starts with a capital"),
        ('tracing::warn!(model = %m, "the instance died.")', "ends with a full stop"),
        ('error!("cannot read {path}")', "has values in it"),
        ('info!(reason = "A.", took = ?x.elapsed(), "Done (mostly)")', "starts with a capital"),
    ],
)
def test_log_messages_out_of_style_are_found(call: str, wrong: str) -> None:
    lines = found(f"{MODULE}fn f() {{ {call}; }}\n")
    assert len(lines) == 1 and wrong in lines[0]


@pytest.mark.parametrize(
    "call",
    [
        'info!("listening")',
        'info!(address = %a, "listening (HTTP)")',
        'warn!("SIGTERM again: killing")',
        'debug!(note = "Full sentence.", "waiting ...")',
        'info!(model = %config.name, "{line}")',
        "info!(counter)",
    ],
)
def test_log_messages_in_style_are_fine(call: str) -> None:
    assert found(f"{MODULE}fn f() {{ {call}; }}\n") == []


def test_errors_are_in_the_same_style() -> None:
    assert "starts with a capital" in found(f'{MODULE}#[error("Cannot open {{path}}")]\n')[0]
    assert found(f'{MODULE}#[error("cannot open {{path}}")]\n') == []
    assert found(f'{MODULE}#[error("SQLite refused: {{why}}")]\n') == []


def test_test_modules_of_one_name_are_found() -> None:
    paths = ["scripts/tests/test_a.py", "tests/site/test_a.py", "tests/site/test_b.py", "tests/spine/test_a.py"]
    assert check_tidy.namesakes(paths) == [
        "tests/spine/test_a.py:1: tests/site/test_a.py has the same name: call one of them differently"
    ]
    assert check_tidy.namesakes(check_tidy.files()) == []
