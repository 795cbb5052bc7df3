"""Results as numpy arrays or torch tensors. Neither is imported until a caller asks for one."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from cresset._specs import TensorSpec

_NUMPY_NAMES = {"bool": "bool_", "bfloat16": "float32"}
"""Element types that numpy calls otherwise; it has no bfloat16, and float32 holds every value of it."""


def check(as_: str | None) -> None:
    """Refuse a kind of array that there is not, before anything is sent."""
    if as_ not in (None, "numpy", "torch"):
        raise ValueError(f"as_ must be 'numpy', 'torch' or None, not {as_!r}")


def convert(result: Any, as_: str, outputs: tuple[TensorSpec, ...]) -> Any:
    """Turn a result into arrays.

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
