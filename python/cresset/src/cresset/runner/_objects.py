"""Runs a batch of an object model: JSON payloads in, JSON values out.

Items fail alone where they can: a payload that does not decode, a `preprocess` that raises, a result that is not JSON.
Only what `predict` does to the batch as a whole fails the batch, and then the server splits it. Items that are
cancelled are left out as soon as that is seen.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cresset._current import Context, enter
from cresset.runner import _wire as wire
from cresset.runner._failure import OutputError, failure, message_of, type_name
from cresset.runner._items import ItemEnd, attempt, finish_items

if TYPE_CHECKING:
    from cresset._current import Marks
    from cresset.runner._discover import Served
    from cresset.runner._files import Files
    from cresset.runner._soft import SoftLimit
    from cresset.runner._streams import Streams


class ObjectRunner:
    """Answers RUN_OBJECTS. One per process; main thread only."""

    def __init__(
        self, served: Served, soft: SoftLimit, streams: Streams | None = None, *, files: Files | None = None
    ) -> None:
        self._served = served
        self._soft = soft
        self._streams = streams
        self._files = files
        self._hook = files.hook if files is not None else None

    def run(self, header: wire.Header, body: memoryview, marks: Marks) -> tuple[bytes, tuple[bytes, ...]]:
        """Run one batch; gives the answer's header and the parts of its body.

        Raises:
            ProtocolError: the body is not an item list.
            OutputError: `predict` did not give one output for each item.
            SoftTimeout: the batch's time is over, whichever of the author's code ran.
            BaseException: whatever `predict` raises.
        """
        try:
            return self._run(header, body, marks)
        finally:
            if self._files is not None:
                self._files.close_batch()

    def _run(self, header: wire.Header, body: memoryview, marks: Marks) -> tuple[bytes, tuple[bytes, ...]]:
        texts = wire.unpack_items(body, header.batch)
        ends = [self._decode(text, marks, index) for index, text in enumerate(texts)]
        for end, flag in zip(ends, marks.flags, strict=True):
            end.is_skipped |= flag != 0 and end.failure is None
        good = [index for index, end in enumerate(ends) if end.is_good]
        if good:
            batch = [ends[index].value for index in good]
            enter(Context(marks, None if len(good) == len(ends) else tuple(good)))
            result = self._soft.call("predict", self._served.predict, batch)
            if self._streams is not None:
                self._streams.drive(header, result, ends, good, marks)
            else:
                for index, output in zip(good, _outputs(result, len(good)), strict=True):
                    ends[index].value = output
        finished = wire.pack_statuses(finish_items(self._soft, ends, self._served.postprocess, marks))
        if len(finished) > wire.MAX_BODY_LEN:
            raise OutputError(
                f"the results of this batch take {len(finished)} bytes of JSON, at most {wire.MAX_BODY_LEN} can be sent"
            )
        head = wire.pack_header(wire.DONE_OBJECTS, len(finished), seq=header.seq, slot=header.slot, batch=header.batch)
        return head, (finished,)

    def _decode(self, text: memoryview, marks: Marks, index: int) -> ItemEnd:
        if marks.flags[index]:
            return ItemEnd(is_skipped=True)
        try:
            payload = json.loads(str(text, "utf-8"), object_hook=self._hook)
        except (ValueError, OSError, RecursionError) as error:  # more than Python or the disk takes, or no file
            message = f"the payload cannot be decoded: {message_of(error)}"
            return ItemEnd(failure=failure("preprocess", type_name(error), message))
        if self._served.preprocess is None:
            return ItemEnd(value=payload)
        return attempt(self._soft, "preprocess", self._served.preprocess, payload, marks, index)


def _outputs(result: Any, count: int) -> list[Any]:
    """Give the outputs one by one: from a list or tuple, or along the first dimension of a tensor or array."""
    if isinstance(result, (list, tuple)):
        outputs: list[Any] = list(result)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    elif hasattr(result, "tolist") and getattr(result, "ndim", 0) > 0:
        outputs = list(result)
    else:
        hint = (
            "return list(...) of it, or set stream.enabled in model.toml"
            if hasattr(result, "__next__")
            else "return one entry for each item, in order"
        )
        raise OutputError(f"predict returned a {type_name_of(result)}, not a list with one entry for each item", hint)
    if len(outputs) != count:
        raise OutputError(
            f"predict returned {len(outputs)} outputs for a batch of {count}",
            "return one entry for each item, in order",
        )
    return outputs


def type_name_of(value: object) -> str:
    """Give the name of a value's class, for messages."""
    return "None" if value is None else type(value).__name__
