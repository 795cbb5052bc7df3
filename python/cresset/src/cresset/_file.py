"""Files among inputs and results: bytes with a type, which JSON carries as an object of one key.

`{"$file": {"content_type": "image/png", "filename": null, "data": "<base64>"}}` is the form in requests, payloads and
results. Nothing here looks into a file.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Generator

_KEY: Final = "$file"
_ANY_TYPE: Final = "application/octet-stream"
_ENDING_MAX: Final = 16
"""Characters of a file name's ending: a longer one tells nobody what the file is."""


@dataclass(frozen=True)
class File:
    """A file: what is in it, and what it says it is.

    A model with `files = true` in its model.toml is given one for a body that is not JSON and for each file of a form;
    it may return one, alone or anywhere in a result. The type and the name are the sender's claims: check what you rely
    on.
    """

    data: bytes = field(repr=False)
    content_type: str = _ANY_TYPE
    filename: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be sent."""
        if not isinstance(self.data, (bytes, bytearray, memoryview)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"data must be bytes, not {type(self.data).__name__}")

    @property
    def path(self) -> Path | None:
        """Where its bytes are, in a model with `files = "path"`: a file of this call's own, removed after it.

        It has the ending of `filename` where that is plain. `None` for a file that is in memory.
        """
        return None

    @classmethod
    def of_path(cls, path: str | Path, content_type: str = _ANY_TYPE) -> File:
        """Read a file, whose name goes with it.

        Raises:
            OSError: it cannot be read.
        """
        path = Path(path)
        return cls(path.read_bytes(), content_type, path.name)

    @contextlib.contextmanager
    def as_path(self) -> Generator[Path, None, None]:
        """Write it to a private temporary file, for code that takes a path; removed when the `with` is over.

        The file's name is ours, with the ending of `filename` where that is plain. One that has a `path` gives that.
        """
        if self.path is not None:
            yield self.path
            return
        with tempfile.NamedTemporaryFile(prefix="cresset-", suffix=ending(self.filename)) as file:
            file.write(self.data)
            file.flush()
            yield Path(file.name)

    def to_json(self) -> dict[str, Any]:
        """Give the form that JSON carries."""
        text = base64.b64encode(self.data).decode("ascii")
        return {_KEY: {"content_type": self.content_type, "filename": self.filename, "data": text}}


def ending(filename: str | None) -> str:
    """Give the ending of a sender's file name, such as `.png`, where it is plain; else nothing."""
    found = Path(filename or "").suffix
    return found if found[1:].isalnum() and found.isascii() and len(found) <= _ENDING_MAX else ""


def said(value: dict[str, Any]) -> tuple[str, str | None, str] | None:
    """Read the type, the name and the base64 of the file that a JSON object is; `None` when it is none.

    Raises:
        ValueError: it has the key of a file, and is none.
    """
    if _KEY not in value or len(value) != 1:
        return None
    file = value[_KEY]
    if not isinstance(file, dict):
        message = f"{_KEY!r} must be an object with `content_type`, `filename` and `data`"
        raise ValueError(message)  # noqa: TRY004  # of the sender's text, not of an argument
    file = cast("dict[str, Any]", file)
    content_type, filename, data = file.get("content_type", _ANY_TYPE), file.get("filename"), file.get("data")
    if unknown := file.keys() - {"content_type", "filename", "data"}:
        raise ValueError(
            f"{_KEY!r} has the unknown key {min(unknown)!r}; a file has `content_type`, `filename`, `data`"
        )
    if not isinstance(content_type, str) or not isinstance(data, str) or not isinstance(filename, (str, type(None))):
        message = f"{_KEY!r} must have `data` as base64, and `content_type` and `filename` as text"
        raise ValueError(message)  # noqa: TRY004  # likewise
    return content_type, filename, data


def decoded(data: str) -> bytes:
    """Give the bytes of a file's base64.

    Raises:
        ValueError: it is none.
    """
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the `data` of {_KEY!r} is not base64: {error}") from None


def revive(value: dict[str, Any]) -> Any:
    """Give the file that a JSON object is, or the object: an `object_hook` of the JSON reader.

    Raises:
        ValueError: it has the key of a file, and is none.
    """
    if (file := said(value)) is None:
        return value
    content_type, filename, data = file
    return File(decoded(data), content_type, filename)


def revived(value: Any) -> Any:
    """Give a value read from JSON with its files as files; objects that look like one and are none stay as they are."""
    if isinstance(value, dict):
        made = {key: revived(item) for key, item in cast("dict[str, Any]", value).items()}
        try:
            return revive(made)
        except ValueError:
            return made
    if isinstance(value, list):
        return [revived(item) for item in cast("list[Any]", value)]
    return value
