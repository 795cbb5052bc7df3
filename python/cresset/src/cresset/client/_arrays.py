"""Results as numpy arrays or torch tensors. Neither is imported until a caller asks for one."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cresset._specs import TensorSpec
    from cresset.client._safetensors import Packed

_NUMPY_NAMES: Final = {"bool": "bool_", "bfloat16": "float32"}
"""Element types that numpy calls otherwise; it has no bfloat16, and float32 holds every value of it."""


def check(as_: str | None) -> None:
    """Refuse a kind of array that there is not, before anything is sent."""
    if as_ not in (None, "numpy", "torch"):
        raise ValueError(f"as_ must be 'numpy', 'torch' or None, not {as_!r}")


def wants_bytes(as_: str | None) -> bool:
    """Tell whether a result is better had as bytes, which are little-endian, than as JSON."""
    return as_ is not None and sys.byteorder == "little"


def unpacked(tensors: Mapping[str, Packed], as_: str) -> Any:
    """Turn a result that came as bytes into arrays: one, or a dict of them by name.

    Each has the dtype that the model gave (numpy's bfloat16 is float32) and writable memory of its own.

    Raises:
        ModuleNotFoundError: the library is not installed.
    """
    make = _numpy_of if as_ == "numpy" else _torch_of
    arrays = {name: make(tensor) for name, tensor in tensors.items()}
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def convert(result: Any, as_: str, outputs: tuple[TensorSpec, ...]) -> Any:
    """Turn a result that came as JSON into arrays.

    A model that declares outputs gives an array of the declared dtype, or a dict of them by name. Of any other, a list
    or number becomes an array of the library's own choice of dtype, and so does every list in a dict.

    Raises:
        ModuleNotFoundError: the library is not installed.
        ValueError: a list is ragged, or holds something else than numbers.
    """
    make = _numpy if as_ == "numpy" else _torch
    dtypes = {spec.name: spec.dtype for spec in outputs}
    if isinstance(result, dict):
        named = cast("dict[str, Any]", result)
        return {
            name: _one(value, make, dtypes.get(name)) if name in dtypes or isinstance(value, list) else value
            for name, value in named.items()
        }
    return _one(result, make, outputs[0].dtype if len(outputs) == 1 else None)


def _one(value: Any, make: Callable[[Any, str | None], Any], dtype: str | None) -> Any:
    try:
        return make(value, dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the result cannot be turned into an array: {error}") from None


def _numpy(value: Any, dtype: str | None) -> Any:
    numpy = importlib.import_module("numpy")
    array = numpy.asarray(value, dtype=None if dtype is None else getattr(numpy, _NUMPY_NAMES.get(dtype, dtype)))
    if array.dtype.kind not in "biuf":
        raise ValueError(f"it holds {array.dtype}, not numbers")
    return array


def _torch(value: Any, dtype: str | None) -> Any:
    torch = importlib.import_module("torch")
    return torch.tensor(value, dtype=None if dtype is None else getattr(torch, dtype))


def _numpy_of(tensor: Packed) -> Any:
    numpy = importlib.import_module("numpy")
    if tensor.dtype == "bfloat16":  # the upper half of a float32
        bits = numpy.frombuffer(tensor.data, numpy.uint16).astype(numpy.uint32) << 16
        return bits.view(numpy.float32).reshape(tensor.shape)
    dtype = getattr(numpy, _NUMPY_NAMES.get(tensor.dtype, tensor.dtype))
    return numpy.frombuffer(tensor.data, dtype).reshape(tensor.shape).copy()


def _torch_of(tensor: Packed) -> Any:
    torch = importlib.import_module("torch")
    dtype = getattr(torch, tensor.dtype)
    if not tensor.data:  # frombuffer refuses it
        return torch.empty(tensor.shape, dtype=dtype)
    return torch.frombuffer(bytearray(tensor.data), dtype=dtype).reshape(tensor.shape)
