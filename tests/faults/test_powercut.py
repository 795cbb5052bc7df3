"""The undo journal: what was flushed survives a power cut, what was not may go, in order."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from faults import shim
from faults.powercut import Journal

WRITES = """
import os, sys
os.chdir(sys.argv[1])
{body}
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return shim.built(tmp_path / "lib")


def play(tmp_path: Path, library: Path, body: str, seed: int) -> Path:
    """Runs Python lines in a data folder under the shim, cuts the power, and gives the folder."""
    home = tmp_path / f"seed-{seed}"
    data = home / "data"
    data.mkdir(parents=True)
    (data / "old").write_bytes(b"0" * 5000)
    journal = Journal(home / "undo", data)
    control = shim.Shim(library, home / "control", data)
    environment = {**os.environ, **control.environment, **journal.environment}
    command = [sys.executable, "-c", WRITES.format(body=body), str(data)]
    subprocess.run(command, env=environment, check=True, timeout=60)
    control.close()
    journal.trim()
    journal.cut(random.Random(seed))
    assert not any((home / "undo").iterdir())
    return data


FLUSHED_THEN_NOT = """
path = sys.argv[1] + "/"
fd = os.open(path + "old", os.O_RDWR)
os.pwrite(fd, b"1" * 1000, 100)
os.pwrite(fd, b"2" * 1000, 6000)
os.fsync(fd)
os.pwrite(fd, b"3" * 4096, 0)
os.ftruncate(fd, 10)
os.pwrite(fd, b"4" * 20, 5)
"""


def test_flushed_bytes_survive_and_others_go_from_the_end(tmp_path: Path, library: Path) -> None:
    flushed = bytearray(b"0" * 5000 + bytes(2000))
    flushed[100:1100] = b"1" * 1000
    flushed[6000:7000] = b"2" * 1000
    third = bytearray(flushed)
    third[0:4096] = b"3" * 4096
    whole = [bytes(flushed), bytes(third), bytes(third[:10]), bytes(third[:5]) + b"4" * 20]
    found: set[bytes] = set()
    for seed in range(25):
        content = (play(tmp_path, library, FLUSHED_THEN_NOT, seed) / "old").read_bytes()
        torn = len(content) == 7000 and content[:512] == b"3" * 512 and content[4096:] == bytes(flushed[4096:])
        assert content in whole or torn, content[:40]
        found.add(content)
    assert len(found) >= 3, "chance should have picked several ends"


NAMES = """
path = sys.argv[1] + "/"
def make(name):
    fd = os.open(path + name, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"here")
    os.fsync(fd)
    os.close(fd)
make("sure")
os.mkdir(path + "sub")
folder = os.open(path, os.O_RDONLY)
os.fsync(folder)
make("unsure")
make("sub/unsure")
os.unlink(path + "old")
os.rename(path + "sure", path + "renamed")
"""


def test_names_are_sure_once_their_folder_is_flushed(tmp_path: Path, library: Path) -> None:
    found: set[frozenset[str]] = set()
    for seed in range(25):
        data = play(tmp_path, library, NAMES, seed)
        names = {str(path.relative_to(data)) for path in data.rglob("*")}
        assert "sub" in names and ("sure" in names) != ("renamed" in names), names
        assert "old" in names or "unsure" in names, "the last changes go first"
        if "old" in names:
            assert (data / "old").stat().st_size == 5000
        found.add(frozenset(names))
    assert len(found) >= 4, found


def test_a_record_that_was_not_finished_is_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "undo", tmp_path)
    (tmp_path / "undo" / "journal").write_bytes(b"\1\0\0\0 half of a record")
    journal.trim()
    assert (tmp_path / "undo" / "journal").read_bytes() == b""
