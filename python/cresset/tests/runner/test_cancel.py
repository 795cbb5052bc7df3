"""Items that nobody wants any more: what the model can ask, what is left out, and what a model that stops says."""

from __future__ import annotations

import textwrap
import time
from typing import TYPE_CHECKING

import pytest

import cresset
from cresset._current import Context, Marks
from reference import SKIPPED, Board, Tensor, tensor_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference import Child

    Start = Callable[..., Child]

ERROR_CANCELLED = 8
TELLS = """
    import cresset

    def predict(batch):
        now = cresset.current()
        return [[item, now.cancelled, list(now.cancelled_items)] for item in batch]
"""
#: Says that it is here, waits to be cancelled, and stops; or gives up waiting after a minute.
WAITS = """
    import time
    import cresset

    def predict(batch):
        print("here", flush=True)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if any(cresset.current().cancelled_items):
                raise cresset.Cancelled
        raise AssertionError("nobody cancelled it")
"""


def x(*values: float) -> Tensor:
    return Tensor("float32", (len(values), 1), list(values))


def waits_in_predict(child: Child) -> None:
    assert child.process.stdout is not None
    assert child.process.stdout.readline() == b"here\n"


def test_outside_of_a_batch_there_is_nothing_to_ask():
    with pytest.raises(RuntimeError, match="no batch is running"):
        cresset.current()


def test_a_batch_is_cancelled_when_all_of_its_items_are():
    board = bytearray(3)
    marks = Marks(memoryview(board))
    whole, some, one = Context(marks), Context(marks, (0, 2)), Context(marks, (1,))
    assert (whole.cancelled, some.cancelled, one.cancelled) == (False, False, False)
    board[0] = board[2] = 1
    assert (whole.cancelled, some.cancelled, one.cancelled) == (False, True, False)
    assert whole.cancelled_items == (True, False, True)
    assert some.cancelled_items == (True, True)
    one.raise_if_cancelled()
    with pytest.raises(cresset.Cancelled):
        some.raise_if_cancelled()
    marks.close()
    board[1] = 1
    assert whole.cancelled_items == (True, False, True), "what came after the end is another batch's"


def test_asking_is_cheap():
    context = Context(Marks(memoryview(bytearray(32))))
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(10_000):
            context.cancelled  # noqa: B018  # what is measured
        best = min(best, (time.perf_counter() - began) / 10_000)
    assert best < 1e-6, f"{best * 1e9:.0f} ns"


def test_cancelled_is_no_exception_that_except_exception_eats():
    assert not issubclass(cresset.Cancelled, Exception)
    assert str(cresset.Cancelled()) == "the work was cancelled"


def test_what_is_cancelled_before_its_run_is_left_out(start: Start):
    child = start(TELLS)
    child.ready()
    answer = child.run_objects("a", "b", "c", slot=1, cancelled=[1])
    assert (answer.kind, answer.slot) == ("DONE_OBJECTS", 1)
    nothing = [False, False]
    assert answer.items == [(0, ["a", False, nothing]), (SKIPPED, None), (0, ["c", False, nothing])]
    assert child.run_objects("d").items == [(0, ["d", False, [False]])], "the marks of the other slot do not count"
    assert child.run_objects("e", "f", cancelled=[0, 1]).items == [(SKIPPED, None)] * 2


def test_what_is_cancelled_is_neither_preprocessed_nor_postprocessed(start: Start):
    child = start("""
        import cresset

        class Model(cresset.Model):
            def preprocess(self, payload):
                assert not cresset.current().cancelled
                assert cresset.current().cancelled_items == (False,)
                assert payload != "cancelled"
                return payload
            def predict(self, batch):
                return batch
            def postprocess(self, output):
                assert output != "cancelled"
                return output * 2
    """)
    child.ready()
    answer = child.run_objects("cancelled", "a", "cancelled", cancelled=[0, 2])
    assert answer.items == [(SKIPPED, None), (0, "aa"), (SKIPPED, None)]


def test_an_item_that_stops_itself_ends_alone(start: Start):
    child = start("""
        import time
        import cresset

        class Model(cresset.Model):
            def preprocess(self, payload):
                if payload == "slow":
                    print("here", flush=True)
                    while True:
                        cresset.current().raise_if_cancelled()
                return payload
            def predict(self, batch):
                return batch
    """)
    child.ready()
    child.send_objects("a", "slow", "b")
    waits_in_predict(child)
    child.board.cancel(1)
    assert child.receive().items == [(0, "a"), (SKIPPED, None), (0, "b")]


def test_a_batch_that_is_given_up_says_so(start: Start):
    child = start(WAITS)
    child.ready()
    child.send_objects("a", "b", seq=9)
    waits_in_predict(child)
    child.board.cancel(1)
    answer = child.receive()
    assert (answer.kind, answer.flags, answer.seq) == ("ERROR", ERROR_CANCELLED, 9)
    assert (answer.json["type"], answer.json["stage"]) == ("Cancelled", "predict")
    assert (answer.json["message"], answer.json["hint"]) == ("the work was cancelled", None)


def test_who_stops_though_nothing_is_cancelled_fails(start: Start):
    child = start("""
        import cresset

        class Model(cresset.Model):
            def preprocess(self, payload):
                if payload == "item":
                    raise cresset.Cancelled
                return payload
            def predict(self, batch):
                if "batch" in batch:
                    raise cresset.Cancelled("mine")
                return batch
    """)
    child.ready()
    answer = child.run_objects("batch")
    assert (answer.kind, answer.flags, answer.json["type"]) == ("ERROR", 0, "Cancelled")
    assert "nothing that it was running had been cancelled" in answer.json["message"]
    assert "raise_if_cancelled" in answer.json["hint"]
    (good, (status, failure)) = child.run_objects("a", "item").items
    assert good == (0, "a")
    assert (status, failure["stage"]) == (1, "preprocess")
    assert "nothing that it was running had been cancelled" in failure["message"]


def test_threads_of_the_model_may_ask_and_what_they_keep_stays_true(start: Start):
    child = start("""
        import threading
        import cresset

        kept = []

        def ask(into):
            into.append(cresset.current())

        def predict(batch):
            before = [context.cancelled_items for context in kept]
            thread = threading.Thread(target=ask, args=(kept,))
            thread.start()
            thread.join()
            return [[kept[-1].cancelled, before]] * len(batch)
    """)
    child.ready()
    assert child.run_objects(1).items == [(0, [False, []])]
    assert child.run_objects(1, 2, cancelled=[0]).items == [(SKIPPED, None), (0, [False, [[False]]])]
    assert child.run_objects(1).items == [(0, [False, [[False], [False]]])]


def test_a_model_cannot_write_to_the_board(start: Start):
    child = start("""
        import cresset

        def predict(batch):
            cresset.current()._marks.flags[0] = 1
            return batch
    """)
    child.ready()
    assert child.run_objects(1).json["type"] == "TypeError"


def test_a_board_that_does_not_fit_is_refused(start: Start):
    child = start("def predict(batch):\n    return batch")
    child.ready()
    child.send_objects(*range(Board.SLOT_LEN + 1))
    assert child.wait() == 70
    assert "the board has no place" in child.logs()


def test_a_hello_without_the_board_is_refused(start: Start):
    child = start("def predict(batch):\n    return batch")
    board, child.board.fd = child.board.fd, child.sock.fileno()
    child.hello()
    assert child.wait() == 70
    assert "the board has 0 bytes" in child.logs()
    child.board.fd = board


@pytest.mark.torch
class TestTensors:
    X = (tensor_spec("x", "float32", 1),)

    def begin(self, start: Start, code: str) -> Child:
        child = start(textwrap.dedent(code))
        child.ready(inputs=list(self.X))
        return child

    def test_a_batch_with_one_cancelled_runs_whole_and_one_with_none_wanted_not_at_all(self, start: Start):
        child = self.begin(
            start,
            """
            import cresset
            import torch

            def predict(batch):
                now = cresset.current()
                assert not now.cancelled
                return batch + torch.tensor(now.cancelled_items).float()[:, None] * 10
            """,
        )
        (output,) = child.run(x(1, 2, 3), slot=1, cancelled=[1]).tensors
        assert output.values == [1, 12, 3]
        answer = child.run(x(1, 2), cancelled=[0, 1])
        assert (answer.kind, answer.flags) == ("ERROR", ERROR_CANCELLED)
        (output,) = child.run(x(1, 2)).tensors
        assert output.values == [1, 2]

    def test_what_is_cancelled_is_not_postprocessed(self, start: Start):
        child = self.begin(
            start,
            """
            import cresset

            class Model(cresset.Model):
                def predict(self, batch):
                    return batch
                def postprocess(self, output):
                    assert output != 2
                    return output.item()
            """,
        )
        assert child.run(x(1, 2, 3), cancelled=[1]).items == [(0, 1.0), (SKIPPED, None), (0, 3.0)]

    def test_a_batch_that_is_given_up_says_so(self, start: Start):
        child = self.begin(start, WAITS)
        child.send_run(x(1, 2))
        waits_in_predict(child)
        child.board.cancel(0)
        answer = child.receive()
        assert (answer.kind, answer.flags) == ("ERROR", ERROR_CANCELLED)
