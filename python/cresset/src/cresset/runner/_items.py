"""Turns what a model gives for each item into JSON text, one item's failure being that item's alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cresset._current import Cancelled, Context, SoftTimeout, enter
from cresset.runner import _failure, _wire as wire
from cresset.runner._jsonable import to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from cresset._current import Marks
    from cresset.runner._soft import SoftLimit


@dataclass
class ItemEnd:
    """What has become of an item so far: a value, a failure, or nothing, as it was cancelled."""

    value: Any = None
    failure: dict[str, Any] | None = None
    is_skipped: bool = False

    @property
    def is_good(self) -> bool:
        """Whether it goes on."""
        return self.failure is None and not self.is_skipped


def attempt(  # noqa: PLR0917  # an item's whole surroundings
    soft: SoftLimit,
    stage: _failure.Stage,
    function: Callable[[Any], Any],
    argument: Any,
    marks: Marks,
    index: int,
) -> ItemEnd:
    """Call the author's per-item function for an item that is not cancelled; what it raises is the item's failure.

    Raises:
        SoftTimeout: the batch's time is over. Which item took it is not known: the one at hand may only be the last.
    """
    if marks.flags[index]:
        return ItemEnd(is_skipped=True)
    enter(Context(marks, (index,)))
    try:
        return ItemEnd(value=soft.call(stage, function, argument))
    except BaseException as error:  # exit() in the author's code must not stop the others' items
        if isinstance(error, Cancelled) and marks.flags[index]:
            return ItemEnd(is_skipped=True)
        if isinstance(error, SoftTimeout) and marks.timed_out():
            raise
        return ItemEnd(failure=_failure.of_exception(stage, error))


def finish_items(
    soft: SoftLimit, ends: list[ItemEnd], postprocess: Callable[[Any], Any] | None, marks: Marks
) -> list[tuple[int, bytes]]:
    """Postprocess and encode every item that has not failed; gives (status, JSON text) pairs in order.

    Raises:
        SoftTimeout: as `attempt`.
    """
    finished: list[tuple[int, bytes]] = []
    for index, end in enumerate(ends):
        if end.failure is None and marks.flags[index]:
            end.is_skipped = True
        if end.is_good and postprocess is not None:
            end = attempt(soft, "postprocess", postprocess, end.value, marks, index)  # noqa: PLW2901  # one item's way, step by step
        if end.is_skipped:
            finished.append((wire.STATUS_SKIPPED, b""))
            continue
        if end.failure is None:
            try:
                finished.append((wire.STATUS_RESULT, to_json(end.value)))
                continue
            except BaseException as error:  # noqa: BLE001  # tolist() and __iter__ may be the author's code
                end = ItemEnd(failure=_failure.of_exception("output", error))  # noqa: PLW2901
        finished.append((wire.STATUS_FAILURE, wire.pack_json(end.failure)))
    return finished
