"""Loading weights as data: files that would run code are refused unless model.toml allows it.

This is a guard rail, not a sandbox. It stops the accident of loading somebody's pickled module, through `load_weights`
and through a plain `torch.load(..., weights_only=False)`; the author's own code can still call `pickle.load`,
`joblib.load` or `torch.jit.load`, and whoever wrote model.py runs code here anyway.
"""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import ModuleType

_SUFFIXES: Final = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pt2", ".onnx")
_FORCE: Final = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_FORCE_NOT: Final = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_MARK: Final = "__wrapped_by_cresset__"
_MAX_LISTED: Final = 20
"""Names of globals shown in a refusal."""


class UnpicklingError(pickle.UnpicklingError):
    """A weights file holds pickled code, and model.toml does not allow that."""

    hint = (
        "save the state_dict (torch.save(net.state_dict(), path)) or use safetensors; or, if you trust whoever wrote "
        "the file, set allow_pickle = true in model.toml"
    )


def forbid_pickle() -> None:
    """Make torch, once imported, load nothing but data. Called before the author's code, without importing torch.

    The variable is torch's own switch: it holds for every `torch.load` here and in programs that the author's code
    runs.
    """
    os.environ[_FORCE] = "1"
    os.environ.pop(_FORCE_NOT, None)


def explain_refusals() -> None:
    """Give `torch.load` the better error of `load_weights`, if torch has been imported. May be called again."""
    torch = sys.modules.get("torch")
    original = getattr(torch, "load", None)
    if torch is None or original is None or hasattr(original, _MARK):
        return

    def load(f: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(f, *args, **kwargs)
        except pickle.UnpicklingError as error:
            if isinstance(f, (str, os.PathLike)) and "Weights only load failed" in str(error):
                raise _refusal(torch, Path(f)) from None  # pyright: ignore[reportUnknownArgumentType]
            raise

    functools.update_wrapper(load, original)
    setattr(load, _MARK, True)
    torch.load = load  # pyright: ignore[reportAttributeAccessIssue]


def load_weights(path: Path, device: str, *, allow_pickle: bool) -> Any:
    """Load a weights file; see `Model.load_weights`."""
    if not path.is_file():
        raise FileNotFoundError(_missing(path))
    if path.suffix == ".safetensors":
        # Its ModuleNotFoundError gets the hint that every missing dependency gets.
        return importlib.import_module("safetensors.torch").load_file(str(path), device=device)
    torch = importlib.import_module("torch")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        if isinstance(error, UnpicklingError):
            raise
        if not allow_pickle:
            raise _refusal(torch, path) from None
    return torch.load(path, map_location=device, weights_only=False)


def _refusal(torch: ModuleType, path: Path) -> UnpicklingError:
    listing = ""
    try:
        wanted = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # noqa: BLE001  # the old file format, or an older torch: then there is no list
        wanted = []
    if wanted:
        more = f" and {len(wanted) - _MAX_LISTED} more" if len(wanted) > _MAX_LISTED else ""
        listing = f" It wanted to import: {', '.join(wanted[:_MAX_LISTED])}{more}."
    return UnpicklingError(f"{path.name} holds pickled code, not only weights, and was not loaded.{listing}")


def _missing(path: Path) -> str:
    try:
        present = sorted(name for name in os.listdir(path.parent) if name.endswith(_SUFFIXES))
    except OSError as error:
        return f"{path} does not exist: {error.strerror}"
    return f"{path.name} is not in {path.parent}; weight files there: {', '.join(present) if present else 'none'}"
