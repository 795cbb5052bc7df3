"""Files as paths, in a real process over a real channel: there while a batch runs, and gone after it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from cresset.runner._files import _PIECE, Files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reference import Child

    Start = Callable[..., Child]

MODEL = """
import cresset

class Look(cresset.Model):
    def predict(self, batch):
        return batch

    def postprocess(self, file):
        beside = file.path.with_name("mine.txt")
        beside.write_text("a model may leave something there")
        with file.as_path() as path:
            assert path == file.path
        assert file.path.read_bytes() == file.data
        return {"path": str(file.path), "bytes": len(file.data), "type": file.content_type, "name": file.filename}
"""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A folder of the instance's own."""
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


def said(data: bytes, content_type: str = "image/png", filename: str | None = "a.png") -> dict[str, object]:
    text = base64.b64encode(data).decode()
    return {"$file": {"content_type": content_type, "filename": filename, "data": text}}


def test_a_file_has_a_path_as_long_as_its_batch(start: Start, spool: Path):
    child = start(MODEL)
    child.ready(files=True, spool=spool)
    for _ in range(2):
        answer = child.run_objects(said(b"abc"), said(b"", filename=None), said(b"x", filename="../../etc/a b.p?g"))
        [one, two, three] = [value for status, value in answer.items if status == 0]
        assert (one["bytes"], one["type"], one["name"]) == (3, "image/png", "a.png")
        assert one["path"].endswith(".png")
        assert one["path"].startswith(f"{spool}/")
        assert two["name"] is None
        assert "." not in two["path"].rpartition("/")[2]
        assert three["path"].startswith(f"{spool}/")
        assert "." not in three["path"].rpartition("/")[2]
        assert list(spool.iterdir()) == []


def test_a_batch_that_fails_leaves_nothing_either(start: Start, spool: Path):
    child = start("def predict(batch):\n    raise KeyError(str(batch[0].path))")
    child.ready(files=True, spool=spool)
    answer = child.run_objects(said(b"abc"))
    assert answer.kind == "ERROR"
    assert str(spool) in answer.json["message"]
    assert list(spool.iterdir()) == []


def test_a_type_that_the_model_does_not_take_fails_its_item(start: Start, spool: Path):
    child = start(MODEL)
    child.ready(files=True, spool=spool, content_types=("image/*", "application/pdf"))
    items = child.run_objects(said(b"a", "text/plain"), said(b"a", "IMAGE/x; q=1"), said(b"a", "application/pdf")).items
    assert [status for status, _ in items] == [1, 0, 0]
    assert "a file is 'text/plain', and the model takes image/*, application/pdf" in items[0][1]["message"]


def test_a_large_file_is_written_in_pieces_as_it_was(tmp_path: Path):
    data = bytes(range(256)) * (_PIECE // 256) + b"end"
    file = Files((), tmp_path).hook(said(data))
    assert file.data == data
    assert file.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("bad", ["%", "QQ=", "A" * (_PIECE - 2) + "==QUJD"])
def test_what_is_no_base64_is_refused(tmp_path: Path, bad: str):
    with pytest.raises(ValueError, match="is not base64"):
        Files((), tmp_path).hook({"$file": {"data": bad}})
