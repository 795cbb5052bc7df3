"""What the runner does with torch beside running batches.

Torch is imported for tensor models only. With others it is used once the author's code has imported it, never asked
for.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import TYPE_CHECKING, Any, Final

from cresset.runner import _wire as wire
from cresset.runner._failure import StartError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from types import ModuleType

    from cresset._specs import TensorSpec

_MAX_EVAL_DEPTH: Final = 3
"""How deep lists, tuples and dicts in the model's attributes are searched for modules."""


def import_torch() -> ModuleType:
    """Import torch, which tensor models need.

    Raises:
        StartError: it is not installed where the model runs.
    """
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise StartError(
            "import",
            "ModuleNotFoundError",
            "No module named 'torch': model.toml declares [[inputs]], and tensor models need torch",
            "add torch to requirements.txt in the model's folder",
        ) from None


def torch_dtypes(torch: ModuleType) -> tuple[Any, ...]:
    """Give torch's dtypes by their code on the wire; `None` for one that this torch does not have."""
    return tuple(getattr(torch, name, None) for name in wire.DTYPE_NAMES)


def zeros(inputs: tuple[TensorSpec, ...], device: str, size: int) -> Any:
    """Make a batch of zeros as `predict` gets it; see `Model.example_batch`."""
    if not inputs:
        raise TypeError("example_batch is for tensor models; this one declares no [[inputs]] in model.toml")
    torch = import_torch()
    made = {
        spec.name: torch.zeros(
            (size, *(1 if dim < 0 else dim for dim in spec.shape)), dtype=getattr(torch, spec.dtype), device=device
        )
        for spec in inputs
    }
    return made if len(made) > 1 else next(iter(made.values()))


def inference_mode() -> AbstractContextManager[Any]:
    """Give torch's inference mode, or nothing when torch has not been imported."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "inference_mode"):
        return contextlib.nullcontext()
    return torch.inference_mode()


def runtime_text() -> str:
    """Say what runs here: `python 3.11.7, torch 2.15.0`."""
    text = f"python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    version = getattr(sys.modules.get("torch"), "__version__", None)
    return text if version is None else f"{text}, torch {version}"


def check_device(device: str) -> None:
    """Make sure that the device is there, and make it the current one; does nothing without torch.

    Raises:
        StartError: it is not there, in words.
    """
    torch = sys.modules.get("torch")
    if device == "cpu" or torch is None or not hasattr(torch, "device"):
        return
    try:
        kind = torch.device(device).type
        if kind == "cuda":
            _check_cuda(torch, device)
            torch.cuda.set_device(torch.device(device))
        else:
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise StartError(
            "load",
            type(error).__name__,
            f"device {device!r} cannot be used: {error}",
            "mend [instances] devices in model.toml",
        ) from None


def eval_modules(values: Iterable[Any]) -> None:
    """Call `eval()` on every module in `values`, looking into containers."""
    torch = sys.modules.get("torch")
    module_class = getattr(getattr(torch, "nn", None), "Module", None)
    if module_class is None:
        return
    seen: set[int] = set()

    def visit(value: Any, depth: int) -> None:
        if id(value) in seen or depth > _MAX_EVAL_DEPTH:
            return
        seen.add(id(value))
        if isinstance(value, module_class):
            # An exported program's module cannot be switched: it is what it was exported as.
            with contextlib.suppress(NotImplementedError):
                value.eval()
        elif isinstance(value, dict):
            for item in list(value.values()):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                visit(item, depth + 1)
        elif isinstance(value, (list, tuple, set, frozenset)):
            for item in list(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                visit(item, depth + 1)

    for value in values:
        visit(value, 0)


def _check_cuda(torch: ModuleType, device: str) -> None:
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = (
            "this torch is built without CUDA"
            if built is None
            else f"torch (CUDA {built}) finds no usable GPU or driver"
        )
        raise StartError(
            "load", "RuntimeError", f"device {device!r} cannot be used: {why}", 'set [instances] devices = ["cpu"]'
        )
    index = torch.device(device).index or 0
    count = torch.cuda.device_count()
    if index >= count:
        raise StartError(
            "load",
            "RuntimeError",
            f"device {device!r} does not exist; this machine shows {count} CUDA device{'s' if count > 1 else ''}",
            "mend [instances] devices in model.toml",
        )
