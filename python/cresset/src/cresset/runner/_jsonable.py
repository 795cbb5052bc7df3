"""Results of a model as JSON, with failures as the protocol has them."""

from __future__ import annotations

from typing import Any, Final

from cresset._json import NotJsonError, encode
from cresset.runner._failure import OutputError

_MAX_ITEM_LEN: Final = (1 << 30) - (1 << 20)
"""The largest result in bytes: a frame of the protocol, less room for its heads."""


def to_json(value: Any) -> bytes:
    """Encode one result: compact UTF-8.

    Raises:
        OutputError: something in it is not JSON (`bad_output`), or is NaN or infinite (`non_finite_output`).
    """
    try:
        text = encode(value, "result")
    except NotJsonError as error:
        if error.non_finite:
            raise OutputError(str(error), error.hint, code="non_finite_output", type_="NonFiniteOutput") from None
        raise OutputError(str(error), error.hint) from None
    if len(text) > _MAX_ITEM_LEN:
        raise OutputError(f"the result takes {len(text)} bytes of JSON, at most {_MAX_ITEM_LEN} can be sent")
    return text
