"""Our codec writes and reads the golden messages that the server's codec writes and reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cresset.runner import _wire as wire
from cresset.runner._hello import read_hello, read_resize

GOLDEN = Path(__file__).parents[4] / "tests" / "golden" / "runner"


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


ALL = [load(path) for path in sorted(GOLDEN.glob("*.json"))]
BAD = [load(path) for path in sorted((GOLDEN / "bad").glob("*.json"))]
TO_SERVER = [frame for frame in ALL if frame["direction"] == "to_server"]
TO_INSTANCE = [frame for frame in ALL if frame["direction"] == "to_instance"]
BAD_TO_INSTANCE = [frame for frame in BAD if frame["direction"] == "to_instance"]


def name_of(frame: dict[str, Any]) -> str:
    return frame["name"]


def test_the_golden_messages_are_there():
    kinds = {frame["header"]["kind"] for frame in ALL}
    assert kinds == set(range(1, 18))
    assert len(BAD_TO_INSTANCE) >= 10


def descriptors(body: dict[str, Any]) -> list[wire.Descriptor]:
    return [
        wire.Descriptor(wire.DTYPE_NAMES.index(t["dtype"]), tuple(t["shape"]), t["offset"], t["nbytes"])
        for t in body["tensors"]
    ]


def text_of(item: dict[str, Any]) -> bytes:
    return b"" if item["status"] == wire.STATUS_SKIPPED else wire.pack_json(item["json"])


def write(frame: dict[str, Any]) -> bytes:
    """Make the message from its description, with the functions that the child uses."""
    body = frame["body"]
    kind = frame["header"]["kind"]
    if body is None:
        raw = b""
    elif "json" in body:
        raw = wire.pack_json(body["json"])
    elif "tensors" in body:
        names = wire.pack_names(body["names"]) if "names" in body else b""
        raw = names + wire.pack_descriptors(descriptors(body)) + bytes.fromhex(body.get("inline_hex", ""))
    elif "chunks" in body:
        raw = wire.pack_chunks([(one["item"], one["number"], wire.pack_json(one["json"])) for one in body["chunks"]])
    else:
        raw = wire.pack_statuses([(item["status"], text_of(item)) for item in body["items"]])
    fields = {key: frame["header"][key] for key in ("flags", "n_tensors", "seq", "slot", "batch", "deadline_ms")}
    return wire.pack_header(kind, len(raw), **fields) + raw


@pytest.mark.parametrize("frame", TO_SERVER, ids=name_of)
def test_we_write_exactly_these_bytes(frame: dict[str, Any]):
    assert write(frame).hex() == frame["hex"]


def read(raw: bytes) -> tuple[wire.Header, Any]:
    """Read a message to the instance, with the functions that the child uses."""
    header = wire.unpack_header(raw)
    body = memoryview(raw)[wire.HEADER_LEN :]
    if header.body_len != len(body):
        raise wire.ProtocolError("cut")
    if header.kind == wire.RUN:
        return header, wire.unpack_descriptors(body, header.n_tensors)
    if header.kind == wire.RUN_OBJECTS:
        return header, [str(item, "utf-8") for item in wire.unpack_items(body, header.batch)]
    if header.kind == wire.TRACES:
        return header, wire.unpack_traces(body, header.batch)
    if header.kind == wire.HELLO:
        return header, read_hello(body)
    if header.kind == wire.RESIZE:
        return header, read_resize(body)
    return header, None


@pytest.mark.parametrize("frame", TO_INSTANCE, ids=name_of)
def test_we_read_exactly_this(frame: dict[str, Any]):
    header, value = read(bytes.fromhex(frame["hex"]))
    expected = dict(frame["header"])
    del expected["kind_name"], expected["reserved"]
    assert header._asdict() == expected
    body = frame["body"]
    if header.kind == wire.RUN:
        assert value == descriptors(body)
    elif header.kind == wire.RUN_OBJECTS:
        assert value == body["items"]
    elif header.kind == wire.TRACES:
        assert value == [trace and (trace["traceparent"], trace.get("tracestate")) for trace in body["json"]["traces"]]
    elif header.kind == wire.RESIZE:
        assert value.size == body["json"]["slab"]["size"]
        assert [vars(slot) for slot in value.slots] == body["json"]["slab"]["slots"]
    elif header.kind == wire.HELLO:
        model = body["json"]["model"]
        assert (value.name, value.version, str(value.dir), value.entry) == (
            model["name"],
            model["version"],
            model["dir"],
            model["entry"],
        )
        assert [(s.name, s.dtype, list(s.shape)) for s in value.inputs] == [
            (s["name"], s["dtype"], s["shape"]) for s in model["inputs"]
        ]
        assert (value.max_batch_size, value.allow_pickle, value.copy_inputs) == (
            model["max_batch_size"],
            model["allow_pickle"],
            model["copy_inputs"],
        )
        soft_ms = model["soft_timeout_ms"]
        assert value.soft_timeout == (None if soft_ms is None else soft_ms / 1000)
        assert (value.stream, value.files) == (model["stream"], model["files"])
        assert list(value.content_types) == model["content_types"]
        spool = body["json"]["instance"]["spool"]
        assert value.spool == (None if spool is None else Path(spool))
        assert value.progress == body["json"]["instance"]["progress_ms"] / 1000
        assert value.logs == body["json"]["instance"]["logs"]
        board = body["json"]["board"]
        assert value.board.size == board["size"]
        assert [vars(slot) for slot in value.board.slots] == board["slots"]
        instance = body["json"]["instance"]
        assert (value.instance, value.device, value.threads) == (
            instance["id"],
            instance["device"],
            instance["threads"],
        )


@pytest.mark.parametrize("frame", BAD_TO_INSTANCE, ids=name_of)
def test_we_refuse_what_must_be_refused(frame: dict[str, Any]):
    with pytest.raises(wire.ProtocolError):
        read(bytes.fromhex(frame["hex"]))


@pytest.mark.parametrize("frame", TO_SERVER, ids=name_of)
def test_we_refuse_messages_meant_for_the_server(frame: dict[str, Any]):
    with pytest.raises(wire.ProtocolError, match="not a message that an instance receives"):
        wire.unpack_header(bytes.fromhex(frame["hex"]))
