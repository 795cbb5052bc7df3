"""Values as JSON text: arrays and tensors become lists, and what JSON cannot carry is named by its path.

The quick way is the standard encoder. Only when it refuses is the value walked, to say where and why. Arrays are known
by their `tolist`, so neither numpy nor torch is imported here. Both sides use it: the client for inputs, the runner for
results.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, cast

from cresset._file import File

_MAX_DEPTH: Final = 100
"""How deep the walk for an explanation goes; real values are far flatter."""
_MAX_PATH_LEN: Final = 300
"""Characters of a path that are shown."""


class NotJsonError(Exception):
    """A value that JSON does not have."""

    def __init__(self, message: str, hint: str | None = None, *, non_finite: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.non_finite = non_finite
        """True for NaN and infinity, false for a value of a kind that cannot be written."""


def encode(value: Any, root: str) -> bytes:
    """Encode a value: compact UTF-8.

    Args:
        value: anything made of JSON's kinds, arrays, tensors and their scalars.
        root: what messages call the value as a whole; paths start with it.

    Raises:
        NotJsonError: something in it is not JSON, NaN and infinity included.
    """
    try:
        return _ENCODER.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _explain(value, root, 0) or NotJsonError(f"{root} cannot be turned into JSON: {error}") from None


def _convert(value: Any) -> Any:
    """Turn what the encoder does not know into what it does: files, arrays, tensors and their scalars."""
    if isinstance(value, File):
        return value.to_json()
    tolist = getattr(value, "tolist", None)
    if callable(tolist) and not isinstance(value, type):
        return tolist()
    raise TypeError(_type_name(value))


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_convert)


def _explain(value: Any, path: str, depth: int) -> NotJsonError | None:
    if depth > _MAX_DEPTH:
        return NotJsonError(f"{_shown(path)} is nested deeper than {_MAX_DEPTH} levels, or contains itself")
    if isinstance(value, float):
        return None if math.isfinite(value) else _not_finite(path, value)
    if value is None or isinstance(value, (int, str)):
        return _explain_text(value, path) if isinstance(value, str) else None
    if isinstance(value, Mapping):
        return _explain_mapping(cast("Mapping[Any, Any]", value), path, depth)
    if isinstance(value, (list, tuple)):
        items = cast("list[Any]", value)
        found = (_explain(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(items))
        return next((error for error in found if error), None)
    return _explain_array(value, path, depth)


def _explain_array(value: Any, path: str, depth: int) -> NotJsonError | None:
    try:
        converted = _convert(value)
    except TypeError:
        return NotJsonError(f"{_shown(path)} is a {_type_name(value)}, which JSON does not have", _hint(value))
    except Exception as error:  # noqa: BLE001  # tolist() is not ours
        return NotJsonError(f"{_shown(path)}, a {_type_name(value)}, cannot be turned into a list: {error}")
    return _explain(converted, path, depth + 1)


def _explain_mapping(value: Mapping[Any, Any], path: str, depth: int) -> NotJsonError | None:
    if not isinstance(value, dict):
        message = f"{_shown(path)} is a {_type_name(value)}, which JSON does not have"
        return NotJsonError(message, "make it a dict with dict(...)")
    for key, item in value.items():
        if found := _explain_key(key, path) or _explain(item, f"{path}.{key}", depth + 1):
            return found
    return None


def _explain_key(key: Any, path: str) -> NotJsonError | None:
    if isinstance(key, str):
        return _explain_text(key, f"a key of {path}")
    if isinstance(key, float) and not math.isfinite(key):
        return _not_finite(f"a key of {path}", key)
    if key is None or isinstance(key, (int, float)):
        return None
    message = f"{_shown(path)} has the key {key!r} of type {_type_name(key)}"
    return NotJsonError(message, "JSON keys are text: use str(key)")


def _explain_text(value: str, path: str) -> NotJsonError | None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return NotJsonError(f"{_shown(path)} is text with a lone surrogate at {error.start}, which UTF-8 cannot carry")
    return None


def _not_finite(path: str, value: float) -> NotJsonError:
    return NotJsonError(
        f"{_shown(path)} is {value}, which JSON does not have", "use None where there is no number", non_finite=True
    )


def _shown(path: str) -> str:
    half = _MAX_PATH_LEN // 2
    return path if len(path) <= _MAX_PATH_LEN else f"{path[:half]} ... {path[-half:]}"


def _type_name(value: Any) -> str:
    cls = cast("type[Any]", type(value))
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _hint(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "make it a file with cresset.File(...), or text, for example with base64.b64encode(...).decode()"
    if isinstance(value, (set, frozenset)) or hasattr(value, "__next__"):
        return "make it a list with list(...)"
    if hasattr(value, "__dataclass_fields__"):
        return "make it a dict with dataclasses.asdict(...)"
    return "use numbers, text, lists, dicts, None, tensors or arrays"
