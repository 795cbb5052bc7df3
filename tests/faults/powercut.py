"""Takes back what a process had written and not flushed, from the journal that `undo.c` kept: a power cut, played.

For each file, and for each folder's names, the changes that no flush covers were made in some order; the first few
survive, as many as chance says, and the first that does not may be torn at a sector. Files are independent of each
other, so one may be ahead of another in any way. Not played: a later change of a file that survives an earlier one's
loss, and a disk that forgets what it has confirmed.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_RECORD = struct.Struct("=IIQQQQ")
CONTENT, FLUSHED, MADE, UNLINKED, RENAMED, FOLDER_MADE, CUT = range(1, 8)
SECTOR = 512


@dataclass(frozen=True)
class Change:
    """One record of the journal, and where it lies in it."""

    at: int
    kind: int
    inode: int
    offset: int
    size: int
    name: Path
    #: Old bytes of a content, or the second name of what was unlinked or renamed.
    rest: bytes


class Journal:
    """The journal of one data folder, in a folder of its own on the same file system."""

    def __init__(self, folder: Path, data: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._path = folder / "journal"
        self._data = data

    @property
    def environment(self) -> dict[str, str]:
        """What a process under the shim must be started with."""
        return {"FAULTS_UNDO": str(self._folder)}

    def trim(self) -> None:
        """Cuts off a record that a killed process did not finish; its change was not made. Before each start."""
        if self._path.exists():
            _, end = self._read()
            os.truncate(self._path, end)

    def _read(self) -> tuple[list[Change], int]:
        if not self._path.exists():
            return [], 0
        text = self._path.read_bytes()
        changes: list[Change] = []
        at = 0
        while at + _RECORD.size <= len(text):
            kind, name_length, inode, offset, size, length = _RECORD.unpack_from(text, at)
            names = at + _RECORD.size
            end = names + name_length + length
            if end > len(text):
                break
            name = Path(os.fsdecode(text[names : names + name_length]))
            changes.append(Change(at, kind, inode, offset, size, name, text[names + name_length : end]))
            at = end
        return changes, at

    def cut(self, rng: random.Random) -> str:
        """The power fails: the data folder is as it would be found. Nobody may have it open. Says what was lost."""
        changes, _ = self._read()
        sure: dict[int, int] = defaultdict(int)
        for change in changes:
            if change.kind == FLUSHED:
                sure[change.inode] = max(sure[change.inode], change.offset)
        unsure = [change for change in changes if change.kind != FLUSHED and change.at >= sure[change.inode]]
        contents = [change for change in unsure if change.kind in (CONTENT, CUT)]
        names = [change for change in unsure if change.kind not in (CONTENT, CUT)]
        paths = dict(self._inodes())
        lost_writes = 0
        for inode, writes in _by_inode(contents).items():
            if inode in paths:
                lost_writes += _undo_contents(paths[inode], writes, rng)
        lost_names = [
            change for group in _by_inode(names).values() for change in group[rng.randrange(len(group) + 1) :]
        ]
        for change in sorted(lost_names, key=lambda change: change.at, reverse=True):
            _undo_name(change)
        for shared in self._data.glob("*-shm"):
            shared.unlink()
        for kept in self._folder.iterdir():
            kept.unlink()
        return f"{lost_writes} of {len(contents)} unflushed writes and {len(lost_names)} of {len(names)} names are lost"

    def _inodes(self) -> Iterator[tuple[int, Path]]:
        for folder in (self._folder, self._data):
            for path in folder.rglob("*"):
                yield path.stat().st_ino, path


def _by_inode(changes: list[Change]) -> dict[int, list[Change]]:
    groups: dict[int, list[Change]] = defaultdict(list)
    for change in changes:
        groups[change.inode].append(change)
    return groups


def _undo_contents(path: Path, writes: list[Change], rng: random.Random) -> int:
    """Undoes the last of them; the number of those that are gone."""
    kept = rng.randrange(len(writes) + 1)
    with path.open("r+b", buffering=0) as file:
        for number in range(len(writes) - 1, kept - 1, -1):
            write = writes[number]
            # The first sectors of the first lost write may have arrived.
            may_tear = number == kept and write.kind == CONTENT
            torn = rng.randrange(0, 9) * SECTOR if may_tear and rng.random() < 0.5 else 0
            now = file.seek(0, os.SEEK_END)
            file.seek(write.offset + torn)
            file.write(write.rest[torn:])
            size = max(write.size, min(now, write.offset + torn)) if torn else write.size
            file.truncate(size)
    return len(writes) - kept


def _undo_name(change: Change) -> None:
    path, second = change.name, Path(os.fsdecode(change.rest))
    if change.kind == MADE:
        path.unlink(missing_ok=True)
    elif change.kind == FOLDER_MADE:
        shutil.rmtree(path, ignore_errors=True)
    elif change.kind == UNLINKED and not path.exists() and path.parent.exists():
        path.hardlink_to(second)
    elif change.kind == RENAMED and second.exists() and not path.exists():
        second.rename(path)
