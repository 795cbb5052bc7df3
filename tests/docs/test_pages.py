"""What the runner of the guides reads from a page, and what it takes for the same."""

from __future__ import annotations

from pathlib import Path

import pages
import pytest


def of(tmp_path: Path, text: str) -> list[pages.Step]:
    """The steps of a page with this text."""
    (tmp_path / "page.md").write_text(text)
    return pages.steps(tmp_path / "page.md")


def test_blocks_become_steps_in_order(tmp_path: Path) -> None:
    text = (
        "# A\n\n```toml file=a/b.toml\nx = 1\n```\n\n```sh\nnot run\n```\n\n"
        "```console run\n$ one \\\n  two\nout\n$ three\n```\n"
    )
    assert of(tmp_path, text) == [
        pages.Step("file", "x = 1\n", 4, name="a/b.toml"),
        pages.Step("run", "one \\\n  two", 12, prints="out"),
        pages.Step("run", "three", 15),
    ]


def test_an_indented_block_is_read_without_its_indent(tmp_path: Path) -> None:
    assert of(tmp_path, "1. a\n\n   ```console serve\n   $ go on\n   ```\n")[0].text == "go on"


@pytest.mark.parametrize("text", ["```sh rum\n$ x\n```\n", "```console run\nx\n$ y\n```\n", "```sh file=\nx\n```\n"])
def test_a_block_that_cannot_be_meant_is_a_mistake(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"after a fence|before the first command"):
        of(tmp_path, text)


def test_a_command_may_need_a_program(tmp_path: Path) -> None:
    [step] = of(tmp_path, "```console run with=nginx\n$ nginx -t\n```\n")
    assert (step.kind, step.needs) == ("run", "nginx")


def test_three_dots_are_anything_and_all_else_is_itself() -> None:
    assert pages.fits('{"id": "7f", "n": 1}\n', '{"id": "...", "n": 1}')
    assert pages.fits("a\nb\nc\n", "a\n...\nc")
    assert pages.fits("whatever", "")
    assert not pages.fits("a.b", "a+b")
    assert not pages.fits("ab", "a")
    assert not pages.fits("a\nb", "b")
