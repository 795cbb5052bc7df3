"""Named tensors as one safetensors file, written and read with the standard library alone.

The form in which arrays travel: eight bytes of length, a JSON header of that length, the tensors' bytes. Elements are
little-endian and row by row; nothing here looks at them.
"""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE: Final = "application/x-safetensors"
METADATA: Final = "__metadata__"
"""The one name that no tensor has in a file."""
_ELEMENTS: Final = {
    "bool": ("BOOL", 1),
    "uint8": ("U8", 1),
    "int8": ("I8", 1),
    "int16": ("I16", 2),
    "int32": ("I32", 4),
    "int64": ("I64", 8),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "float32": ("F32", 4),
    "float64": ("F64", 8),
    "uint16": ("U16", 2),
    "uint32": ("U32", 4),
    "uint64": ("U64", 8),
}
"""For each element type of Cresset's (torch's and numpy's names) the format's name, and the bytes of one element."""
_NAMES: Final = {type_: name for name, (type_, _) in _ELEMENTS.items()}
_LENGTH: Final = struct.Struct("<Q")
_ALIGNMENT: Final = 8
"""The header is padded so that the data begins at a multiple of this."""


class Packed(NamedTuple):
    """One tensor as bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview


def pack(tensors: Mapping[str, Packed]) -> bytes:
    """Write a file. The larger elements come first in its data, so that every tensor is aligned."""
    header: dict[str, Any] = {}
    at = 0
    order = sorted(tensors.items(), key=lambda item: -_ELEMENTS[item[1].dtype][1])
    for name, tensor in order:
        end = at + len(tensor.data)
        header[name] = {"dtype": _ELEMENTS[tensor.dtype][0], "shape": tensor.shape, "data_offsets": (at, end)}
        at = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join((_LENGTH.pack(len(text)), text, *(tensor.data for _, tensor in order)))


def unpack(content: bytes) -> dict[str, Packed]:
    """Read a file; the data is not copied.

    Raises:
        ValueError, KeyError, TypeError: it is not one whose tensors have the bytes of their shapes.
    """
    if len(content) < _LENGTH.size:
        raise ValueError("it ends within its header")
    start = _LENGTH.size + _LENGTH.unpack_from(content)[0]
    if start > len(content):
        raise ValueError("it ends within its header")
    header = json.loads(content[_LENGTH.size : start])
    if not isinstance(header, dict):
        raise TypeError("its header is not an object")
    data = memoryview(content)[start:]
    entries = cast("dict[str, Any]", header).items()
    return {name: _entry(entry, data) for name, entry in entries if name != METADATA}


def _entry(entry: Any, data: memoryview) -> Packed:
    dtype = _NAMES[entry["dtype"]]
    shape = tuple(int(size) for size in entry["shape"])
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= len(data) or end - start != _ELEMENTS[dtype][1] * math.prod(shape):
        raise ValueError(f"a tensor of {dtype} {list(shape)} lies at bytes {start} to {end} of {len(data)}")
    return Packed(dtype, shape, data[start:end])
