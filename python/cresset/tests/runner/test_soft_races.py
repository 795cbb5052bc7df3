"""The soft time limit against every moment at which it could come: between any two steps of the interpreter.

A tracer stands in for the signal: at the n-th step of a batch the clock jumps past the limit and the handler runs, for
every n there is. In a process of its own this would take luck; here each moment is tried.
"""

from __future__ import annotations

import itertools
import struct
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from cresset._current import Marks, current
from cresset.runner import _soft, _wire as wire
from cresset.runner._channel import Frame
from cresset.runner._discover import Served
from cresset.runner._loop import Instance
from cresset.runner._objects import ObjectRunner
from cresset.runner._soft import SoftLimit

if TYPE_CHECKING:
    from types import FrameType

    from cresset.runner._channel import Channel
    from cresset.runner._process import StopSignal

LIMIT = 1.0


class Clock:
    """What the limit takes for the monotonic clock."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Wire:
    """What the instance takes for its channel."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, header: bytes, *parts: bytes) -> None:
        self.sent.append(header + b"".join(parts))

    def take(self) -> tuple[int, bytes]:
        """Give the one answer that there must be: its kind and its body."""
        assert len(self.sent) == 1, self.sent
        frame = self.sent.pop()
        length, kind = struct.unpack_from("<IB", frame)
        assert len(frame) == wire.HEADER_LEN + length, "an answer is whole or not there"
        return kind, frame[wire.HEADER_LEN :]


class Bench:
    """An instance without a process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
        self.clock, self.wire = Clock(), Wire()
        for module in ("cresset.runner._soft.time", "cresset._current.time"):
            monkeypatch.setattr(module, self.clock)
        self.soft = SoftLimit(LIMIT)
        self.instance: Any = Instance(cast("Channel", self.wire), cast("StopSignal", None))
        self.instance._soft = self.soft
        self.instance._objects = ObjectRunner(served, self.soft)
        self.instance._board = SimpleNamespace(marks=lambda header: Marks(bytes(header.batch)))
        self.instance._in_inference_mode = True

    def knock(self) -> None:
        self.soft._on_knock(0, None)

    def batch(self, *texts: str) -> tuple[int, bytes]:
        raw = [text.encode() for text in texts]
        body = b"".join(struct.pack("<I", len(item)) for item in raw) + b"".join(raw)
        header = wire.Header(len(body), wire.RUN_OBJECTS, 0, 0, 1, 0, len(raw), 0)
        assert self.instance._batch(Frame(header, memoryview(body), ()))
        return self.wire.take()

    def batch_with_knock_at(self, step: int, *texts: str) -> tuple[tuple[int, bytes], bool]:
        """Run a batch, with the time over and a knock at this step; tells whether it had so many."""
        count = itertools.count()
        came = False

        def trace(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal came
            if frame.f_code.co_filename == _soft.__file__ and frame.f_code.co_name in ("_look", "_on_knock"):
                return None  # the handler itself: a signal that comes in it is looked at after it
            frame.f_trace_opcodes = True
            if event == "opcode" and next(count) == step:
                came = True
                self.clock.now += 10 * LIMIT
                self.knock()
            return trace

        sys._getframe().f_trace_opcodes = True  # Python 3.12 asks for this before the trace is set
        sys.settrace(trace)
        try:
            answer = self.batch(*texts)
        finally:
            sys.settrace(None)
        return answer, came


GOOD = struct.pack("<BBHI", 0, 0, 0, 1) * 2 + b"34"


def plain(value: Any) -> Any:
    return value + 1


def doubled(batch: list[Any]) -> list[Any]:
    assert not current().cancelled
    return [value for value in batch]  # noqa: C416  # steps of the interpreter


@pytest.mark.parametrize(
    "served",
    [Served(doubled, plain, plain), Served(doubled, lambda value: value + 2)],
    ids=["with hooks", "without postprocess"],
)
def test_at_whatever_step_it_comes_the_answer_is_whole_and_the_next_batch_is_untouched(
    monkeypatch: pytest.MonkeyPatch, served: Served
):
    bench = Bench(monkeypatch, served)
    kinds = {wire.DONE_OBJECTS: 0, wire.ERROR: 0}
    for step in itertools.count():
        (kind, body), came = bench.batch_with_knock_at(step, "1", "2")
        kinds[kind] += 1
        if kind == wire.DONE_OBJECTS:
            assert body == GOOD, step
        else:
            failure = wire.unpack_json(kind, body)
            assert (failure["code"], failure["type"]) == ("soft_timeout", "SoftTimeout"), failure
        bench.knock()  # nothing runs: a knock that comes late
        answer, _ = bench.batch_with_knock_at(-1, "1", "2")
        assert answer == (wire.DONE_OBJECTS, GOOD), f"the batch after a knock at step {step}"
        with pytest.raises(RuntimeError):
            current()
        if not came:
            break
    assert kinds[wire.ERROR] > 20, kinds
    assert kinds[wire.DONE_OBJECTS] > 20, kinds


def test_knocks_without_end_are_one_interruption(monkeypatch: pytest.MonkeyPatch):
    """Knocks that come for another batch, or again, do nothing to who has time, or has been told."""
    caught: list[str] = []

    def predict(batch: list[Any]) -> list[Any]:
        for _ in range(5):
            bench.knock()
        bench.clock.now += 2 * LIMIT
        try:
            bench.knock()
        except BaseException as error:
            caught.append(type(error).__name__)
        for _ in range(5):
            bench.knock()
        return batch

    bench = Bench(monkeypatch, Served(predict, None, plain))
    for number in range(1, 4):
        assert bench.batch("2", "3") == (wire.DONE_OBJECTS, GOOD)
        assert caught == ["SoftTimeout"] * number


def test_what_is_raised_as_the_authors_code_returns_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch):
    """The one place where it can hit us: in `call` itself, behind the author's last step."""
    bench = Bench(monkeypatch, Served(doubled))
    bench.soft.begin()
    bench.soft._is_inside = True  # what is left when it came between the return and `finally`
    bench.soft.end()
    bench.clock.now += 10 * LIMIT
    bench.soft.begin()
    bench.clock.now += 10 * LIMIT
    bench.knock()
