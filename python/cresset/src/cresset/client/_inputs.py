"""Inputs that are numpy arrays or torch tensors, as bytes. Neither is imported: who has one has imported its library.

An array goes as bytes where they mean what its JSON would mean. Whatever that cannot be said of (an array of text, a
masked one, numbers that do not fit the declared type, ...) is left to JSON, whose errors name the element.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from typing import TYPE_CHECKING, Any, Final, cast

from cresset.client._safetensors import METADATA, Packed

if TYPE_CHECKING:
    from types import ModuleType

    from cresset._specs import TensorSpec

_NUMBERS: Final = {
    "bool": "?",
    "uint8": "B",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
}
"""How the standard library packs one number of each type; it has no bfloat16."""
_IS_LITTLE: Final = sys.byteorder == "little"
"""On other machines everything goes as JSON: the bytes of a tensor are little-endian."""


def has_any(value: Any) -> bool:
    """Tell whether an input is an array, or a dict with one in it. Cheap: asked for every input."""
    if not _IS_LITTLE:
        return False
    if isinstance(value, dict):
        return any(_is_array(one) for one in cast("dict[Any, Any]", value).values())
    return _is_array(value)


def packed(value: Any, inputs: tuple[TensorSpec, ...]) -> dict[str, Packed] | None:
    """Give an input as the bytes of the declared tensors; `None` when it must go as JSON."""
    if isinstance(value, dict):
        named = cast("dict[Any, Any]", value)
    elif len(inputs) == 1:
        named = {inputs[0].name: value}
    else:
        return None
    if named.keys() != {spec.name for spec in inputs} or METADATA in named:
        return None
    made: dict[str, Packed] = {}
    for spec in inputs:
        tensor = _packed(named[spec.name], spec.dtype)
        if tensor is None:
            return None
        made[spec.name] = tensor
    return made


def _is_array(value: Any) -> bool:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    return _is_numpy(numpy, value) or _is_torch(torch, value)


def _is_numpy(numpy: ModuleType | None, value: Any) -> bool:
    # Arrays of a class of their own may mean something else by their bytes: a masked one does.
    return numpy is not None and type(value) in (getattr(numpy, "ndarray", None), getattr(numpy, "memmap", None))


def _is_torch(torch: ModuleType | None, value: Any) -> bool:
    cls = getattr(torch, "Tensor", None)
    return cls is not None and isinstance(value, cls)


def _packed(value: Any, dtype: str) -> Packed | None:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    try:
        if _is_torch(torch, value):
            return _of_torch(torch, value, dtype)
        if _is_numpy(numpy, value):
            return _of_numpy(numpy, value, dtype)
        if numpy is not None and isinstance(value, numpy.generic):
            value = value.item()
        if isinstance(value, (bool, int, float)):
            return _of_number(value, dtype)
        if numpy is not None and isinstance(value, (list, tuple)):
            return _of_numpy(numpy, numpy.asarray(value), dtype)
    except (RuntimeError, TypeError, ValueError, OverflowError, struct.error):
        pass  # a tensor without memory of its own (sparse, fake, ...), a ragged list, a number that does not fit
    return None


def _of_number(value: float, dtype: str) -> Packed | None:
    letter = _NUMBERS.get(dtype)
    if letter is None or isinstance(value, bool) != (dtype == "bool"):
        return None
    return Packed(dtype, (), struct.pack(f"<{letter}", value))


def _of_numpy(numpy: Any, array: Any, dtype: str) -> Packed | None:
    if array.dtype.name != dtype:
        if dtype == "bfloat16":  # which numpy does not have
            return None
        wanted = numpy.dtype(dtype)
        if not _keeps_meaning(array.dtype.kind, wanted.kind):
            return None
        with numpy.errstate(over="ignore"):
            cast_array = array.astype(wanted)
        if not numpy.can_cast(array.dtype, wanted, "safe") and not _fits_numpy(numpy, array, cast_array):
            return None
        array = cast_array
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return Packed(dtype, array.shape, array.tobytes())


def _keeps_meaning(kind: str, wanted: str) -> bool:
    """Tell whether numbers of a kind may become another's: whole ones any, others none but others, and no bool either.

    The kinds are numpy's: `i`, `u` whole numbers, `f` others, `b` bools.
    """
    return kind in "iuf" and (wanted == "f" or (wanted in "iu" and kind in "iu"))


def _fits_numpy(numpy: Any, array: Any, cast_array: Any) -> bool:
    if cast_array.dtype.kind == "f":  # rounded, as it would be on its way through JSON; but not to infinity
        return bool((numpy.isfinite(cast_array) | ~numpy.isfinite(array)).all())
    return bool((cast_array == array).all()) and bool(((cast_array < 0) == (array < 0)).all())


def _of_torch(torch: Any, tensor: Any, dtype: str) -> Packed | None:
    wanted = getattr(torch, dtype, None)
    if wanted is None or tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        return None
    tensor = tensor.detach()
    if tensor.dtype != wanted:
        if torch.bool in (tensor.dtype, wanted) or tensor.is_complex():
            return None
        if tensor.is_floating_point() and not wanted.is_floating_point:
            return None
        cast_tensor = tensor.to(wanted)
        if not _fits_torch(torch, tensor, cast_tensor):
            return None
        tensor = cast_tensor
    tensor = tensor.cpu().resolve_neg().contiguous()
    # By its address: numpy, which `tensor.numpy()` needs, may not be there, and has no bfloat16.
    data = ctypes.string_at(tensor.data_ptr(), tensor.nbytes) if tensor.nbytes else b""
    return Packed(dtype, tuple(tensor.shape), data)


def _fits_torch(torch: Any, tensor: Any, cast_tensor: Any) -> bool:
    if cast_tensor.is_floating_point():
        return bool((torch.isfinite(cast_tensor) | ~torch.isfinite(tensor)).all())
    return bool((cast_tensor.to(tensor.dtype) == tensor).all()) and bool(((cast_tensor < 0) == (tensor < 0)).all())
