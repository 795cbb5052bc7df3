"""The switchboard of `shim.c`: builds the library, and says what is to fail from now on."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import subprocess
from pathlib import Path

SOURCES = tuple(Path(__file__).with_name(name) for name in ("shim.c", "undo.c", "undo.h"))
_HEAD = struct.Struct("=IIq")
_HITS = struct.Struct("=6Q")
HIT_NAMES = ("full", "broken", "unflushed", "short", "slow", "clock")
#: Name of a fault of the disk, to its bit in `mode`.
DISK = {"full": 1, "broken": 2, "unflushed": 4, "short": 8, "slow": 16}


def built(folder: Path) -> Path:
    """The library, compiled once for each text of the source. A C compiler is needed to build the program anyway."""
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()[:16]
    library = folder / f"shim-{name}.so"
    with (folder / "shim.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            aside = library.with_suffix(".tmp")
            command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(aside)]
            command += [*map(str, SOURCES[:2]), "-ldl", "-lpthread"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"the fault library cannot be compiled: {' '.join(command)}\n{done.stderr}")
            aside.rename(library)
    return library


class Shim:
    """Faults of the disk below one folder, and of the wall clock."""

    def __init__(self, library: Path, control: Path, data: Path) -> None:
        self._library = library
        self._control = control
        self._data = data
        control.write_bytes(bytes(mmap.PAGESIZE))
        self._fd = os.open(control, os.O_RDWR)
        self._map = mmap.mmap(self._fd, mmap.PAGESIZE)
        self._mode = 0
        self._permille = 1000
        self._clock_ns = 0

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAULTS_CONTROL": str(self._control),
            "FAULTS_DATA": str(self._data),
        }

    def _write(self) -> None:
        _HEAD.pack_into(self._map, 0, self._mode, self._permille, self._clock_ns)

    def disk(self, *faults: str, permille: int = 1000) -> None:
        """Has these fail from now on, each call with this likelihood; nothing when none is named."""
        self._mode = sum(DISK[fault] for fault in faults)
        self._permille = permille
        self._write()

    def move_clock(self, seconds: float) -> None:
        """Moves the wall clock from where it is."""
        self._clock_ns += round(seconds * 1e9)
        self._write()

    @property
    def clock(self) -> float:
        """How far the wall clock is moved."""
        return self._clock_ns / 1e9

    @property
    def hits(self) -> dict[str, int]:
        """How often each fault was given to a call so far."""
        return dict(zip(HIT_NAMES, _HITS.unpack_from(self._map, _HEAD.size), strict=True))

    def close(self) -> None:
        self._map.close()
        os.close(self._fd)
