"""The first message: which model to serve, on what, and how the slab is divided. JSON in, checked values out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cresset._specs import TensorSpec
from cresset.runner import _wire as wire


@dataclass(frozen=True)
class Slot:
    """One place for a batch in the slab; offsets and lengths in bytes."""

    input_offset: int
    input_len: int
    output_offset: int
    output_len: int


@dataclass(frozen=True)
class Layout:
    """How the slab is divided."""

    size: int
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class BoardSlot:
    """One batch's place on the board: a byte for each item."""

    offset: int
    len: int


@dataclass(frozen=True)
class BoardLayout:
    """How the board is divided."""

    size: int
    slots: tuple[BoardSlot, ...]


@dataclass(frozen=True)
class Hello:
    """What the server wants of this process."""

    name: str
    version: str
    dir: Path
    entry: str
    is_tensor: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    allow_pickle: bool
    copy_inputs: bool
    soft_timeout: float | None
    stream: bool
    files: bool
    content_types: tuple[str, ...]
    spool: Path | None
    instance: int
    device: str
    threads: int
    progress: float | None
    logs: bool
    layout: Layout | None
    board: BoardLayout


def read_hello(body: bytes | memoryview) -> Hello:
    """Read HELLO.

    Raises:
        ProtocolError: another protocol version, or a field missing or of the wrong kind.
    """
    message = wire.unpack_json(wire.HELLO, body)
    try:
        if message["protocol"] != wire.PROTOCOL:
            raise wire.ProtocolError(
                f"the server speaks protocol {message['protocol']}, this runner speaks {wire.PROTOCOL}"
            )
        model, instance = message["model"], message["instance"]
        if model["kind"] not in ("tensor", "object"):
            raise wire.ProtocolError(f"a model of kind {model['kind']!r} is unknown to this runner")
        hello = Hello(
            name=str(model["name"]),
            version=str(model["version"]),
            dir=Path(model["dir"]),
            entry=str(model["entry"]),
            is_tensor=model["kind"] == "tensor",
            inputs=tuple(_spec(spec) for spec in model["inputs"]),
            outputs=tuple(_spec(spec) for spec in model["outputs"]),
            max_batch_size=int(model["max_batch_size"]),
            allow_pickle=bool(model["allow_pickle"]),
            copy_inputs=bool(model["copy_inputs"]),
            soft_timeout=_seconds("soft_timeout_ms", model.get("soft_timeout_ms")),
            stream=bool(model.get("stream", False)),
            files=bool(model.get("files", False)),
            content_types=tuple(str(one) for one in model.get("content_types", ())),
            spool=None if instance.get("spool") is None else Path(instance["spool"]),
            instance=int(instance["id"]),
            device=str(instance["device"]),
            threads=max(1, int(instance["threads"])),
            # A server that does not say how often it wants to hear of it does not know the message.
            progress=_seconds("progress_ms", instance.get("progress_ms")),
            # As with progress.
            logs=bool(instance.get("logs", False)),
            layout=None if message["slab"] is None else _layout(message["slab"]),
            board=_board(message["board"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise wire.ProtocolError(f"HELLO is malformed: {type(error).__name__}: {error}") from None
    if hello.is_tensor != (hello.layout is not None) or hello.is_tensor != bool(hello.inputs):
        raise wire.ProtocolError("HELLO is malformed: a tensor model has inputs and a slab, an object model neither")
    return hello


def read_resize(body: bytes | memoryview) -> Layout:
    """Read RESIZE.

    Raises:
        ProtocolError: a field is missing or of the wrong kind.
    """
    try:
        return _layout(wire.unpack_json(wire.RESIZE, body)["slab"])
    except (KeyError, TypeError, ValueError) as error:
        raise wire.ProtocolError(f"RESIZE is malformed: {type(error).__name__}: {error}") from None


def _spec(spec: dict[str, Any]) -> TensorSpec:
    if spec["dtype"] not in wire.DTYPE_NAMES:
        raise ValueError(f"unknown dtype {spec['dtype']!r}")
    return TensorSpec(str(spec["name"]), str(spec["dtype"]), tuple(int(dim) for dim in spec["shape"]))


def _seconds(name: str, ms: Any) -> float | None:
    if ms is None:
        return None
    if not isinstance(ms, int) or ms <= 0:
        raise ValueError(f"{name} is {ms!r}, not a number of milliseconds")
    return ms / 1000


def _board(board: dict[str, Any]) -> BoardLayout:
    size = int(board["size"])
    slots = tuple(BoardSlot(int(slot["offset"]), int(slot["len"])) for slot in board["slots"])
    for slot in slots:
        if not 0 <= slot.offset <= slot.offset + slot.len <= size:
            raise ValueError(f"a slot lies outside the board of {size} bytes")
    return BoardLayout(size, slots)


def _layout(slab: dict[str, Any]) -> Layout:
    size = int(slab["size"])
    slots = tuple(
        Slot(*(int(slot[key]) for key in ("input_offset", "input_len", "output_offset", "output_len")))
        for slot in slab["slots"]
    )
    for slot in slots:
        if not (
            0 <= slot.input_offset <= slot.input_offset + slot.input_len <= size
            and 0 <= slot.output_offset <= slot.output_offset + slot.output_len <= size
        ):
            raise ValueError(f"a slot lies outside the slab of {size} bytes")
        if slot.output_offset % wire.ALIGNMENT:
            raise ValueError(f"an output region starts at {slot.output_offset}, not at a multiple of {wire.ALIGNMENT}")
    return Layout(size, slots)
