"""Dead links and anchors are found, and links out of docs/ lead to the repository in the book."""

from __future__ import annotations

from pathlib import Path

import book_links
import check_docs
import pytest


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page beside another one, in a repository of their own."""
    monkeypatch.setattr(check_docs, "REPO", tmp_path)
    (tmp_path / "other.md").write_text(
        "# One\n\n## `two` of it: all\n\n## Same\n\n## Same\n\n```sh\n# no heading\n```\n"
    )
    return tmp_path / "page.md"


@pytest.mark.parametrize("target", ["other.md", "other.md#two-of-it-all", "other.md#same-1", "https://a.example/x"])
def test_links_that_lead_somewhere_are_fine(page: Path, target: str) -> None:
    assert check_docs.dead(page, target) is None


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        ("gone.md", "there is no such file"),
        ("other.md#three", "other.md has no heading #three"),
        ("other.md#no-heading", "other.md has no heading #no-heading"),
        ("../outside.md", "leads out of the repository"),
    ],
)
def test_links_that_lead_nowhere_are_found(page: Path, target: str, wrong: str) -> None:
    assert check_docs.dead(page, target) == wrong


def test_links_are_read_outside_of_code_only() -> None:
    text = '[a](x.md) `[b](y.md)`\n\n```md\n[c](z.md)\n```\n<!-- [d](w.md) -->\n![e](i.png) <img src="j.png">\n'
    assert list(check_docs.links(text)) == [(1, "x.md"), (7, "i.png"), (7, "j.png")]


def test_links_out_of_docs_are_the_repositorys_in_the_book() -> None:
    text = "[a](../deploy/README.md#x) [b](django.md) [c](../examples/django) [d](https://e.example/)"
    home = book_links.REPOSITORY
    assert book_links.rewritten(text, "tutorial.md") == (
        f"[a]({home}/blob/main/deploy/README.md#x) [b](django.md) [c]({home}/tree/main/examples/django)"
        " [d](https://e.example/)"
    )
