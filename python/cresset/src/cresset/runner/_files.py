"""Files among the inputs of an object model: as bytes, or as files on the disk for as long as a batch runs.

The folder is the server's: what is left in it when this process is killed goes with it.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, Final

from cresset._file import File, decoded, ending, said

if TYPE_CHECKING:
    from pathlib import Path

_PIECE: Final = 4 << 18
"""Characters of base64 decoded at once: a multiple of four, which are three bytes."""
_MODE: Final = 0o600


class SpooledFile(File):
    """A file on the disk; its bytes are read when they are asked for."""

    def __init__(self, path: Path, content_type: str, filename: str | None) -> None:
        """Is the file at `path`."""
        object.__setattr__(self, "_path", path)
        object.__setattr__(self, "content_type", content_type)
        object.__setattr__(self, "filename", filename)

    @property
    def path(self) -> Path:
        """Where it is, until the call is over."""
        return self.__dict__["_path"]

    @property
    def data(self) -> bytes:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Its bytes, read each time."""
        return self.path.read_bytes()


class Files:
    """Makes files of what JSON says of them; `close_batch` takes those on the disk away."""

    def __init__(self, types: tuple[str, ...] = (), folder: Path | None = None) -> None:
        """Takes these types (any, if there are none), in memory or in `folder`."""
        self._types = types
        self._folder = folder
        self._batches = 0
        self._here: Path | None = None
        self._count = 0

    def hook(self, value: dict[str, Any]) -> Any:
        """Give the file that a JSON object is, or the object: an `object_hook` of the JSON reader.

        Raises:
            ValueError: it has the key of a file and is none, or is of a type that the model does not take.
            OSError: it cannot be written.
        """
        if (file := said(value)) is None:
            return value
        content_type, filename, data = file
        if not self._takes(content_type):
            raise ValueError(f"a file is {content_type!r}, and the model takes {', '.join(self._types)}")
        if self._folder is None:
            return File(decoded(data), content_type, filename)
        path = self._place(self._folder, filename)
        _write(path, data)
        return SpooledFile(path, content_type, filename)

    def _takes(self, content_type: str) -> bool:
        essence = content_type.split(";", maxsplit=1)[0].strip().lower()
        family = essence.split("/", maxsplit=1)[0] + "/*"
        return not self._types or essence in self._types or family in self._types

    def _place(self, folder: Path, filename: str | None) -> Path:
        if self._here is None:
            self._here = folder / str(self._batches)
            self._here.mkdir(mode=0o700)
            self._batches += 1
            self._count = 0
        self._count += 1
        return self._here / f"{self._count}{ending(filename)}"

    def close_batch(self) -> None:
        """Take away the files of the batch, and whatever its code has put beside them."""
        here, self._here = self._here, None
        if here is None:
            return
        try:
            shutil.rmtree(here)
        except OSError as error:
            # The batch is done, and the folder goes with this process.
            print(f"cresset: files of a batch cannot be removed: {error}", flush=True)  # noqa: T201  # to the server's log


def _write(path: Path, data: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    with open(descriptor, "wb") as file:
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            if "=" in piece and start + _PIECE < len(data):
                raise ValueError("the `data` of '$file' is not base64: padding before its end")
            file.write(decoded(piece))
