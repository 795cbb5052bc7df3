"""Turns what a model gives for each item into JSON text, one item's failure being that item's alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cresset.runner import _failure, _wire as wire
from cresset.runner._jsonable import to_json

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class ItemEnd:
    """What has become of an item so far: a value, or a failure."""

    value: Any = None
    failure: dict[str, Any] | None = None


def attempt(stage: _failure.Stage, function: Callable[[Any], Any], argument: Any) -> ItemEnd:
    """Call the author's per-item function; what it raises is the item's failure."""
    try:
        return ItemEnd(value=function(argument))
    except BaseException as error:  # noqa: BLE001  # exit() in the author's code must not stop the others' items
        return ItemEnd(failure=_failure.of_exception(stage, error))


def finish_items(ends: list[ItemEnd], postprocess: Callable[[Any], Any] | None) -> list[tuple[int, bytes]]:
    """Postprocess and encode every item that has not failed; gives (status, JSON text) pairs in order."""
    finished: list[tuple[int, bytes]] = []
    for end in ends:
        if end.failure is None and postprocess is not None:
            end = attempt("postprocess", postprocess, end.value)  # noqa: PLW2901  # one item's way, step by step
        if end.failure is None:
            try:
                finished.append((wire.STATUS_RESULT, to_json(end.value)))
                continue
            except BaseException as error:  # noqa: BLE001  # tolist() and __iter__ may be the author's code
                end = ItemEnd(failure=_failure.of_exception("output", error))  # noqa: PLW2901
        finished.append((wire.STATUS_FAILURE, wire.pack_json(end.failure)))
    return finished
