"""A small file system of its own for the data folder, and a file that fills it: ENOSPC as the kernel gives it, to every
call there is, and to pages that a process has mapped. Only root can mount it."""

from __future__ import annotations

import errno
import subprocess
from contextlib import suppress
from pathlib import Path

#: Room for what a run stores: some hundred tasks, a tenth of them of 200 kB, and a log.
SIZE_MIB = 192
PIECE = bytes(1 << 16)


class SmallDisk:
    """A tmpfs at a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._filler = folder / "filler"
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the small disk cannot be mounted, although we are root: {done.stderr.strip()}")

    def fill(self, leave: int) -> None:
        """Takes all room but so many bytes."""
        with self._filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(PIECE)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            if leave:
                file.truncate(max(0, file.tell() - leave))

    def free(self) -> None:
        """Gives the room back."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        with suppress(OSError):
            self.free()
        subprocess.run(["umount", "-l", str(self._folder)], capture_output=True, check=False)
