"""The trace that a request belongs to (W3C Trace Context): the caller's word for it, or OpenTelemetry's current span.

OpenTelemetry is asked only where the program has imported it. It is never imported here, and need not be installed.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final

_LENGTH: Final = 55
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")
_NONE: Final = re.compile(r"ff-.*|..-0{32}-.*|.{36}0{16}-.*")


def headers(traceparent: str | None) -> dict[str, str]:
    """Give the headers that say the trace; none when there is none.

    Raises:
        TypeError: `traceparent` is not text.
        ValueError: it is not what the standard has.
    """
    if traceparent is None:
        return _current()
    if not isinstance(traceparent, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"traceparent must be text, not {type(traceparent).__name__}")
    if not is_traceparent(traceparent):
        raise ValueError(
            "traceparent must be as W3C Trace Context has it, such as "
            f"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, not {traceparent[:80]!r}"
        )
    return {"traceparent": traceparent}


def is_traceparent(text: str) -> bool:
    """Tell whether this is a `traceparent` of level 1 of the standard, or begins like one and is of a later level."""
    is_like = _TRACEPARENT.fullmatch(text) and not _NONE.fullmatch(text)
    return bool(is_like) and (not text.startswith("00-") or len(text) == _LENGTH)


def _current() -> dict[str, str]:
    trace: Any = sys.modules.get("opentelemetry.trace")
    # A module that is just being imported, in another thread, has not all of its names yet.
    get_current_span = getattr(trace, "get_current_span", None)
    if get_current_span is None:
        return {}
    here = get_current_span().get_span_context()
    if not here.is_valid:
        return {}
    said = {"traceparent": f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags & 1:02x}"}
    if here.trace_state:
        said["tracestate"] = here.trace_state.to_header()
    return said
