"""What goes wrong, told so that the author of the model can mend it.

Every failure carries the stage, the exception's class and text, a traceback with only the author's frames in it, and a
hint where we know what to do. A failure of ours about the model (`StartError`, `OutputError`) has no traceback: its
message says it all.
"""

from __future__ import annotations

import os
import re
import traceback
from typing import Any, Final, Literal

from cresset._again import Reject, Retry
from cresset._current import Cancelled, SoftTimeout

Stage = Literal["import", "load", "warmup", "preprocess", "predict", "postprocess", "output"]
Code = Literal["model_error", "bad_output", "non_finite_output", "soft_timeout"]

_MAX_TYPE_LEN: Final = 256
_MAX_MESSAGE_LEN: Final = 8 * 1024
_MAX_TRACEBACK_LEN: Final = 32 * 1024
_OUR_DIR: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PACKAGE_OF_IMPORT: Final = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Imports whose package has another name, as met in model code."""


class StartError(Exception):
    """The model cannot be served; raised by us, about the author's files. Becomes FAILED."""

    def __init__(self, stage: Stage, type_: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.stage: Stage = stage
        self.type = type_
        self.hint = hint


class OutputError(Exception):
    """The model gave something that cannot be a result; raised by us. Becomes ERROR, or one item's failure."""

    def __init__(
        self, message: str, hint: str | None = None, *, code: Code = "bad_output", type_: str = "BadOutput"
    ) -> None:
        super().__init__(message)
        self.code: Code = code
        self.type = type_
        self.hint = hint


def failure(
    stage: Stage,
    type_: str,
    message: str,
    *,
    trace: str | None = None,
    code: Code = "model_error",
    hint: str | None = None,
    retry: dict[str, int | None] | Literal[False] | None = None,
) -> dict[str, Any]:
    """Make a JSON failure, each text cut to its bound."""
    return {
        "stage": stage,
        "type": cut(type_, _MAX_TYPE_LEN),
        "message": cut(message, _MAX_MESSAGE_LEN),
        "traceback": None if trace is None else cut(trace, _MAX_TRACEBACK_LEN),
        "code": code,
        "hint": None if hint is None else cut(hint, _MAX_MESSAGE_LEN),
        "retry": retry,
    }


def of_exception(stage: Stage, error: BaseException) -> dict[str, Any]:
    """Make a JSON failure from what was raised in a stage, by the author's code or by us about it."""
    if isinstance(error, StartError):
        return failure(error.stage, error.type, str(error), hint=error.hint)
    if isinstance(error, OutputError):
        return failure("output", error.type, str(error), code=error.code, hint=error.hint)
    return failure(
        stage,
        type_name(error),
        message_of(error),
        trace=user_traceback(error),
        hint=hint_for(stage, error),
        retry=_retry(error),
    )


def _retry(error: BaseException) -> dict[str, int | None] | Literal[False] | None:
    """Say what the author's code wants: another try and when, none, or nothing of the kind."""
    if isinstance(error, Retry):
        return {"after_ms": error.after_ms}
    return False if isinstance(error, Reject) else None


def type_name(error: BaseException) -> str:
    """Give the class of an exception as Python prints it: builtins bare, others with their module."""
    cls = type(error)
    if cls.__module__ in ("builtins", "__main__") or cls.__module__.startswith("cresset."):
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def message_of(error: BaseException) -> str:
    """Give the text of an exception; one whose `__str__` raises has none."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{os.path.basename(error.filename)}, line {error.lineno}: {error.msg}"
    if isinstance(error, Cancelled):
        return "the model raised cresset.Cancelled, and nothing that it was running had been cancelled"
    if isinstance(error, SoftTimeout):
        return "the model raised cresset.SoftTimeout, and its time was not over"
    if isinstance(error, SystemExit):
        return f"the model called exit({'' if error.code is None else repr(error.code)})"
    try:
        return str(error)
    except Exception as inner:  # noqa: BLE001  # the author's __str__ may raise anything
        return f"(the exception's text cannot be shown: its __str__ raised {type(inner).__name__})"


def user_traceback(error: BaseException) -> str | None:
    """Format the traceback without our own frames and the import system's; `None` when nothing is left."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=False)
    _trim(trace, set())
    if not trace.stack and not isinstance(error, SyntaxError):
        return None
    return "".join(trace.format())


def hint_for(stage: Stage, error: BaseException) -> str | None:  # noqa: PLR0911  # a list of cases
    """Say what to do about an exception, where that is known."""
    if type(error).__module__.startswith("cresset."):  # ours, raised inside the author's code: it brings its hint
        return getattr(error, "hint", None)
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        return f"add {_PACKAGE_OF_IMPORT.get(top, top)} to requirements.txt in the model's folder"
    if isinstance(error, ImportError) and "attempted relative import" in str(error):
        return "the entry file is not part of a package: write `import helper` instead of `from . import helper`"
    text = message_of(error)
    if is_out_of_memory(error):
        return "lower [batching] max_batch_size in model.toml, or give the machine or device more memory"
    if "Weights only load failed" in text:
        return (
            "the file holds pickled code: save the state_dict instead, or, if you trust whoever wrote the file, "
            "set allow_pickle = true in model.toml"
        )
    if "Expected all tensors to be on the same device" in text and stage != "import":
        return "move the module to self.device in load()"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether host or device memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and bool(
        re.search(r"DefaultCPUAllocator: (can't|not enough)|CUDA out of memory", str(error))
    )


def is_device_lost(error: BaseException) -> bool:
    """Tell whether the device is in a state that only a new process gets out of (a CUDA fault is sticky)."""
    return (
        isinstance(error, RuntimeError)
        and bool(re.search(r"(CUDA|HIP) error:|device-side assert|cudaError", str(error)))
        and not is_out_of_memory(error)
    )


def cut(text: str, limit: int) -> str:
    """Shorten to `limit` bytes of UTF-8 by leaving out the middle; what UTF-8 cannot carry is escaped."""
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= limit:
        return raw.decode()
    mark = f" ... [{len(raw) - limit} bytes and more left out] ... ".encode()
    head = (limit - len(mark)) // 2
    tail = limit - len(mark) - head
    # A character cut in half at either edge is dropped.
    return (raw[:head] + mark + raw[len(raw) - tail :]).decode("utf-8", "ignore")


def _trim(trace: traceback.TracebackException, seen: set[int]) -> None:
    if id(trace) in seen:
        return
    seen.add(id(trace))
    trace.stack = traceback.StackSummary.from_list(
        [
            frame
            for frame in trace.stack
            if not frame.filename.startswith(_OUR_DIR) and not frame.filename.startswith("<frozen importlib")
        ]
    )
    for other in (trace.__cause__, trace.__context__, *(getattr(trace, "exceptions", None) or ())):
        if other is not None:
            _trim(other, seen)
