"""Fixtures of all tests."""

from __future__ import annotations

import importlib.util
import os
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from reference import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

sys.dont_write_bytecode = True  # src is embedded in the server: it must hold sources only


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("torch") is None or importlib.util.find_spec("torch") is not None:
        return
    if os.environ.get("CI"):
        pytest.fail("torch is missing; in CI these tests must run", pytrace=False)
    pytest.skip("torch is not installed in the interpreter that runs pytest")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start a runner for a model folder with this text as its `model.py`; more files by name."""
    children: list[Child] = []

    def start_child(
        text: str | None, *, files: dict[str, str] | None = None, env: dict[str, str] | None = None
    ) -> Child:
        folder = tmp_path / f"model{len(children)}"
        folder.mkdir()
        for name, content in {**({} if text is None else {"model.py": text}), **(files or {})}.items():
            (folder / name).write_text(textwrap.dedent(content))
        child = Child(folder, env=env)
        children.append(child)
        return child

    yield start_child
    for child in children:
        child.close()
