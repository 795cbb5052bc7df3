"""Frames of the runner protocol: reads what the server sends, makes what the server reads.

Pure: no sockets, no torch, no files. Everything here is described in `docs/reference/runner-protocol.md`, and tested
against the golden messages that the server's side is tested against. Whatever does not fit is a `ProtocolError`, which
ends the process: a peer that we misunderstand once cannot be trusted with the next message.
"""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

PROTOCOL: Final = 2

HEADER: Final = struct.Struct("<IBBHQIIII")
HEADER_LEN: Final = HEADER.size
MAX_BODY_LEN: Final = 1 << 30
MAX_TENSORS: Final = 256
MAX_RANK: Final = 17
MAX_CHUNK_LEN: Final = 1 << 20
"""A piece of a result, as JSON."""
MAX_CHUNKS_LEN: Final = 8 << 20
"""Pieces that are sent together; half of what the protocol allows."""
CHUNK_HEAD_LEN: Final = 12
ALIGNMENT: Final = 64
"""Offsets of tensors in the slab are multiples of this."""

HELLO: Final = 1
READY: Final = 2
FAILED: Final = 3
RUN: Final = 4
RUN_OBJECTS: Final = 5
DONE: Final = 6
DONE_OBJECTS: Final = 7
ERROR: Final = 8
PING: Final = 9
PONG: Final = 10
RESIZE: Final = 11
SHUTDOWN: Final = 12
NOTE: Final = 13
PROGRESS: Final = 14
CHUNKS: Final = 15
TRACES: Final = 16
LOGS: Final = 17
KIND_NAMES: Final = (
    "",
    "HELLO",
    "READY",
    "FAILED",
    "RUN",
    "RUN_OBJECTS",
    "DONE",
    "DONE_OBJECTS",
    "ERROR",
    "PING",
    "PONG",
    "RESIZE",
    "SHUTDOWN",
    "NOTE",
    "PROGRESS",
    "CHUNKS",
    "TRACES",
    "LOGS",
)

FLAG_INLINE: Final = 1
"""DONE: the tensors' bytes follow the descriptors instead of lying in the slab."""
FLAG_NAMED: Final = 2
"""DONE: the outputs' names come before the descriptors."""
FLAG_LAST: Final = 4
"""ERROR: this process exits after it, and begins nothing that was sent to it since."""
FLAG_CANCELLED: Final = 8
"""ERROR: the batch was given up because items of it are cancelled."""

TO_INSTANCE: Final = frozenset((HELLO, RUN, RUN_OBJECTS, PING, RESIZE, SHUTDOWN, TRACES))
_WITHOUT_BODY: Final = frozenset((PING, SHUTDOWN))
_WITH_BATCH: Final = frozenset((RUN, RUN_OBJECTS, TRACES))

STATUS_RESULT: Final = 0
STATUS_FAILURE: Final = 1
STATUS_SKIPPED: Final = 2
"""Cancelled, and not run to its end; without a text."""

DTYPE_NAMES: Final = (
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "uint16",
    "uint32",
    "uint64",
)
"""Names of the element types; the place in the tuple is the code on the wire."""
DTYPE_SIZES: Final = (1, 1, 1, 2, 4, 8, 2, 2, 4, 8, 2, 4, 8)
"""Bytes of one element, by code."""

_DESCRIPTOR: Final = struct.Struct("<BBHI")
_PLACE: Final = struct.Struct("<QQ")
_LENGTH: Final = struct.Struct("<I")
_STATUS: Final = struct.Struct("<BBHI")
_CHUNK: Final = struct.Struct("<III")
_U16: Final = struct.Struct("<H")
_MAX_U16: Final = 0xFFFF


class ProtocolError(Exception):
    """The peer sent something that this protocol does not have."""


class Header(NamedTuple):
    """The first 32 bytes of a frame."""

    body_len: int
    kind: int
    flags: int
    n_tensors: int
    seq: int
    slot: int
    batch: int
    deadline_ms: int


class Descriptor(NamedTuple):
    """Where one tensor lies, and what it is. `dims[0]` is the batch."""

    dtype: int
    dims: tuple[int, ...]
    offset: int
    nbytes: int


def kind_name(kind: int) -> str:
    """Give the name of a kind, for messages."""
    return KIND_NAMES[kind] if 0 < kind < len(KIND_NAMES) else f"kind {kind}"


def pack_header(
    kind: int,
    body_len: int = 0,
    *,
    flags: int = 0,
    n_tensors: int = 0,
    seq: int = 0,
    slot: int = 0,
    batch: int = 0,
    deadline_ms: int = 0,
) -> bytes:
    """Make the 32 bytes before a body."""
    return HEADER.pack(body_len, kind, flags, n_tensors, seq, slot, batch, deadline_ms, 0)


def unpack_header(buffer: bytes | bytearray | memoryview, at: int = 0) -> Header:
    """Read the 32 bytes at `at`, which the server wrote.

    Raises:
        ProtocolError: a kind that no instance receives, a flag or reserved bit, a size beyond the protocol's bounds, or
            fields that the kind does not have.
    """
    body_len, kind, flags, n_tensors, seq, slot, batch, deadline_ms, reserved = HEADER.unpack_from(buffer, at)
    if kind not in TO_INSTANCE:
        raise ProtocolError(f"{kind_name(kind)} is not a message that an instance receives")
    if flags or reserved:
        raise ProtocolError(f"{kind_name(kind)} has flags {flags:#x} and reserved {reserved:#x}; both must be 0")
    if body_len > MAX_BODY_LEN:
        raise ProtocolError(f"{kind_name(kind)} announces a body of {body_len} bytes, more than {MAX_BODY_LEN}")
    if n_tensors > MAX_TENSORS or (n_tensors and kind != RUN):
        raise ProtocolError(f"{kind_name(kind)} announces {n_tensors} tensors")
    if kind in _WITHOUT_BODY and body_len:
        raise ProtocolError(f"{kind_name(kind)} has a body of {body_len} bytes; it must be empty")
    if kind in _WITH_BATCH and not batch:
        raise ProtocolError(f"{kind_name(kind)} has no items; a batch has at least one")
    return Header(body_len, kind, flags, n_tensors, seq, slot, batch, deadline_ms)


def pack_descriptors(descriptors: Sequence[Descriptor]) -> bytes:
    """Make the bytes of tensor descriptors, in order."""
    parts: list[bytes] = []
    for tensor in descriptors:
        rank = len(tensor.dims)
        parts.append(_DESCRIPTOR.pack(tensor.dtype, rank, 0, 0))
        parts.append(struct.pack(f"<{rank}q", *tensor.dims))
        parts.append(_PLACE.pack(tensor.offset, tensor.nbytes))
    return b"".join(parts)


def unpack_descriptors(body: bytes | memoryview, count: int) -> list[Descriptor]:
    """Read the `count` descriptors that a RUN consists of.

    Raises:
        ProtocolError: the body is too short or too long, a field is out of range, an offset is not aligned, or `nbytes`
            is not what dtype and dims make.
    """
    found: list[Descriptor] = []
    at = 0
    for number in range(count):
        if len(body) - at < _DESCRIPTOR.size:
            raise ProtocolError(f"the body ends inside tensor descriptor {number}")
        head: tuple[int, int, int, int] = _DESCRIPTOR.unpack_from(body, at)
        dtype, rank, zero16, zero32 = head
        at += _DESCRIPTOR.size
        if dtype >= len(DTYPE_NAMES) or not 1 <= rank <= MAX_RANK or zero16 or zero32:
            raise ProtocolError(f"tensor descriptor {number} is malformed (dtype {dtype}, rank {rank})")
        if len(body) - at < 8 * rank + _PLACE.size:
            raise ProtocolError(f"the body ends inside tensor descriptor {number}")
        dims: tuple[int, ...] = struct.unpack_from(f"<{rank}q", body, at)
        at += 8 * rank
        offset, nbytes = _PLACE.unpack_from(body, at)
        at += _PLACE.size
        if min(dims) < 0:
            raise ProtocolError(f"tensor descriptor {number} has a negative dimension: {list(dims)}")
        size = math.prod(dims) * DTYPE_SIZES[dtype]
        if size != nbytes:
            raise ProtocolError(f"tensor {number} of dims {list(dims)} should take {size} bytes, not {nbytes}")
        if offset % ALIGNMENT:
            raise ProtocolError(f"tensor {number} starts at {offset}, which is not a multiple of {ALIGNMENT}")
        found.append(Descriptor(dtype, dims, offset, nbytes))
    if at != len(body):
        raise ProtocolError(f"{len(body) - at} bytes lie after the last tensor descriptor")
    return found


def pack_names(names: Sequence[str]) -> bytes:
    """Make the name table of a DONE with the NAMED flag.

    Raises:
        ValueError: a name takes more than 65,535 bytes.
    """
    parts = [_U16.pack(len(names))]
    for name in names:
        text = name.encode()
        if len(text) > _MAX_U16:
            raise ValueError(f"an output's name of {len(text)} bytes is too long")
        parts += (_U16.pack(len(text)), text)
    return b"".join(parts)


def unpack_items(body: memoryview, batch: int) -> list[memoryview]:
    """Read the item list of a RUN_OBJECTS: views into `body`, one for each of `batch` items.

    Raises:
        ProtocolError: the lengths do not add up to the body.
    """
    at = _LENGTH.size * batch
    if batch < 1 or len(body) < at:
        raise ProtocolError(f"a RUN_OBJECTS body of {len(body)} bytes has no room for {batch} items")
    items: list[memoryview] = []
    for (length,) in _LENGTH.iter_unpack(body[:at]):
        if len(body) - at < length:
            raise ProtocolError("a RUN_OBJECTS body ends inside an item")
        items.append(body[at : at + length])
        at += length
    if at != len(body):
        raise ProtocolError(f"a RUN_OBJECTS body has {len(body) - at} bytes after its last item")
    return items


def pack_statuses(items: Sequence[tuple[int, bytes]]) -> bytes:
    """Make the item list of a DONE_OBJECTS from (status, JSON text) pairs."""
    heads = [_STATUS.pack(status, 0, 0, len(text)) for status, text in items]
    return b"".join([*heads, *(text for _, text in items)])


def pack_chunks(chunks: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Make the body of a CHUNKS from (item, number, JSON text) triples."""
    heads = [_CHUNK.pack(item, number, len(text)) for item, number, text in chunks]
    return b"".join([_LENGTH.pack(len(chunks)), *heads, *(text for _, _, text in chunks)])


def pack_json(value: Any) -> bytes:
    """Make the bytes of a JSON body: compact, UTF-8, keys in the order given."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def unpack_json(kind: int, body: bytes | memoryview) -> dict[str, Any]:
    """Read the JSON object in a body.

    Raises:
        ProtocolError: it is not a JSON object.
    """
    try:
        value = json.loads(bytes(body))
    except ValueError as error:
        raise ProtocolError(f"{kind_name(kind)} does not hold JSON: {error}") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"{kind_name(kind)} does not hold a JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]  # json gives str keys


def unpack_traces(body: bytes | memoryview, batch: int) -> list[tuple[str, str | None] | None]:
    """Read a TRACES: for each of `batch` items its traceparent and tracestate, or None.

    Raises:
        ProtocolError: it is not a list of these, one for each item.
    """
    found = unpack_json(TRACES, body).get("traces")
    if not isinstance(found, list) or len(found) != batch:  # pyright: ignore[reportUnknownArgumentType]
        raise ProtocolError(f"TRACES does not say one for each of {batch} items")
    traces: list[tuple[str, str | None] | None] = []
    for entry in cast("list[object]", found):
        if entry is None:
            traces.append(None)
            continue
        trace = cast("dict[str, object]", entry) if isinstance(entry, dict) else {}
        parent, state = trace.get("traceparent"), trace.get("tracestate")
        if not isinstance(parent, str) or not (state is None or isinstance(state, str)):
            raise ProtocolError("TRACES has an entry that is no trace")
        traces.append((parent, state))
    return traces


def aligned(offset: int) -> int:
    """Round up to the next place where a tensor may start."""
    return (offset + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
