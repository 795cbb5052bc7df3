"""What a tensor model's `predict` gave, as tensors by name.

Checked here is what an answer would be impossible or wrong without: kind, names, dtype, batch dimension. The rest of
the shape, and NaN, are checked by the server (the shape by us when `postprocess` hides the tensors from it).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from cresset.runner import _wire as wire
from cresset.runner._failure import OutputError
from cresset.runner._torch import torch_dtypes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from cresset._specs import TensorSpec

_ONLY_OUTPUT: Final = "output"
"""The name of a single output that model.toml does not declare."""


class OutputReader:
    """Reads what `predict` gives for one model."""

    def __init__(self, torch: ModuleType, specs: tuple[TensorSpec, ...]) -> None:
        self._torch = torch
        self._specs = specs
        self._wanted = {spec.name: wire.DTYPE_NAMES.index(spec.dtype) for spec in specs}
        self.codes = {dtype: code for code, dtype in enumerate(torch_dtypes(torch)) if dtype is not None}
        """Codes on the wire by torch's dtype."""

    def named(self, result: Any, batch: int) -> dict[str, Any]:
        """Give the outputs by name, in declared order, each a dense tensor of the right dtype with the batch first.

        Raises:
            OutputError: it is not that.
        """
        if isinstance(result, Mapping):
            named = self._of_dict(cast("Mapping[Any, Any]", result))
        elif isinstance(result, (list, tuple)):
            named = self._of_sequence(cast("list[Any]", result))
        elif len(self._specs) > 1:
            raise OutputError(
                f"predict returned a {type(result).__name__}, model.toml declares {self._declared()}",
                "return a tuple in that order, or a dict by name",
            )
        else:
            named = {self._specs[0].name if self._specs else _ONLY_OUTPUT: result}
        return {name: self._tensor(name, value, batch) for name, value in named.items()}

    def _of_dict(self, result: Mapping[Any, Any]) -> dict[str, Any]:
        if not self._specs:
            if not 0 < len(result) <= wire.MAX_TENSORS:
                raise OutputError(
                    f"predict returned a dict of {len(result)} outputs; 1 to {wire.MAX_TENSORS} can be sent"
                )
            return {_name(key): value for key, value in result.items()}
        missing = [spec.name for spec in self._specs if spec.name not in result]
        extra = [str(key) for key in result if key not in self._wanted]
        if missing or extra:
            raise OutputError(
                f"predict returned the outputs {_list(map(str, result))}, model.toml declares {_list(self._wanted)}"
                + (f"; {_list(missing)} missing" if missing else "")
                + (f"; {_list(extra)} not declared" if extra else "")
            )
        return {spec.name: result[spec.name] for spec in self._specs}

    def _of_sequence(self, result: list[Any]) -> dict[str, Any]:
        what = f"predict returned a {type(result).__name__} of {len(result)}"
        if not self._specs:
            raise OutputError(
                f"{what}, and model.toml declares no [[outputs]] to name its parts",
                "return one tensor, or a dict from name to tensor, or declare [[outputs]]",
            )
        if len(result) != len(self._specs):
            raise OutputError(
                f"{what}, model.toml declares {self._declared()}",
                "return one tensor for each output, with the batch as its first dimension (torch.stack the items)",
            )
        return {spec.name: value for spec, value in zip(self._specs, result, strict=True)}

    def _declared(self) -> str:
        count = len(self._specs)
        return f"{count} output{'s' if count > 1 else ''} ({_list(self._wanted)})"

    def _tensor(self, name: str, value: Any, batch: int) -> Any:
        torch = self._torch
        if not isinstance(value, torch.Tensor):
            value = self._from_numpy(name, value)
        if value.layout != torch.strided or value.dtype not in self.codes:
            what = f"of dtype {_short(value.dtype)}" if value.layout == torch.strided else "sparse"
            raise OutputError(f"output {name!r} is {what}, which cannot be sent", _dtype_hint())
        shape = tuple(value.shape)
        if not shape or shape[0] != batch:
            raise OutputError(
                f"output {name!r} has shape {list(shape)} for a batch of {batch}; its first dimension must be {batch}",
                "keep the batch dimension: one row for each item",
            )
        if len(shape) > wire.MAX_RANK:
            raise OutputError(f"output {name!r} has {len(shape)} dimensions, at most {wire.MAX_RANK} can be sent")
        wanted = self._wanted.get(name)
        if wanted is not None and self.codes[value.dtype] != wanted:
            dtype = wire.DTYPE_NAMES[wanted]
            raise OutputError(
                f"output {name!r} is {_short(value.dtype)}, model.toml says {dtype}",
                f"return it .to(torch.{dtype}), or change the declaration",
            )
        return value

    def _from_numpy(self, name: str, value: Any) -> Any:
        if hasattr(value, "__array_interface__") and getattr(value, "ndim", 0) > 0:
            try:
                return self._torch.from_numpy(value.copy())
            except TypeError:
                raise OutputError(f"output {name!r} is an array of {value.dtype}, which cannot be sent") from None
        kind = type(value).__name__
        hint = "return the tensor itself, with the batch as its first dimension"
        raise OutputError(f"output {name!r} is a {kind}, not a tensor", hint)

    def check_shapes(self, named: dict[str, Any]) -> None:
        """Make sure that the items have the declared shapes.

        Raises:
            OutputError: one has another.
        """
        for spec in self._specs:
            _check_shape(spec, tuple(named[spec.name].shape))


def _check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    item = shape[1:]
    if len(item) != len(spec.shape) or any(want not in (-1, have) for want, have in zip(spec.shape, item, strict=True)):
        raise OutputError(f"output {spec.name!r} has items of shape {list(item)}, model.toml says {list(spec.shape)}")


def _name(key: Any) -> str:
    if not isinstance(key, str) or not key:
        raise OutputError(f"predict returned a dict with the key {key!r}; outputs are named by text")
    return key


def _list(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def _short(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype_hint() -> str:
    return f"convert it; these can be sent: {', '.join(wire.DTYPE_NAMES)}, dense"
