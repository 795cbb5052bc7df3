"""The page of the Python API says what the docstrings say, in Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest
import python_api

SOURCE = '''
"""A module."""
__all__ = ["Thing", "work"]

class _Base:
    def shared(self) -> int:
        """From the base."""

class Thing(_Base):
    """One thing, `a<b`, not <b>.

    ```python
    if a < b: ...
    ```
    """
    size: int
    """How large
    it is."""
    _hidden: int

    def __init__(self, size: int, *, of: str = "wood") -> None: ...

    @property
    def weight(self) -> float:
        """In kilograms."""

    def _private(self) -> None:
        """Not told."""

async def work(thing: Thing, /, *rest: int, first_of_the_many: int = 1, second_of_them: int = 2, **more: str) -> None:
    """Works.

    Args:
        thing: what is worked on,
            and for long.
        rest: the rest.

    Returns:
        Nothing of
        worth.
    """

def other() -> None:
    """Not in `__all__`."""
'''


@pytest.fixture
def package(tmp_path: Path) -> python_api.Package:
    """A package with one module."""
    (tmp_path / "module.py").write_text(SOURCE)
    return python_api.Package(tmp_path)


def test_a_class_is_told_with_its_fields_and_what_it_inherits(package: python_api.Package) -> None:
    text = python_api.entry(package, "module", "Thing", 3)
    assert text is not None
    assert text.startswith("### `Thing`\n\n```python\nThing(size: int, *, of: str='wood')\n```\n")
    assert "One thing, `a<b`, not &lt;b>." in text and "if a < b: ..." in text
    assert "- `size: int`: How large it is." in text
    assert "#### `Thing.shared`" in text and "```python\nweight\n```" in text
    assert "_private" not in text and "_hidden" not in text


def test_a_long_call_has_a_line_for_each_parameter(package: python_api.Package) -> None:
    text = python_api.entry(package, "module", "work", 3)
    assert text is not None
    assert "async work(\n    thing: Thing,\n    /,\n    *rest: int,\n    first_of_the_many: int = 1," in text
    assert "*Args*\n\n- `thing`: what is worked on, and for long.\n- `rest`: the rest." in text
    assert "*Returns*\n\nNothing of\nworth." in text


def test_only_what_is_public_is_told(package: python_api.Package) -> None:
    assert package.public("module") == ["Thing", "work"]
    assert python_api.entry(package, "module", "missing", 3) is None
