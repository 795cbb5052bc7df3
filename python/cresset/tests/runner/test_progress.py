"""How far the work has come: said by the model's code, heard by the server now and then, of the batch that runs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from cresset._current import Context, Marks

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference import Child

    Start = Callable[..., Child]


def child(start: Start, text: str, **hello: Any) -> Child:
    one = start(textwrap.dedent(text))
    one.ready(**{"progress_ms": 20, **hello})
    return one


def reports(one: Child) -> tuple[list[dict[str, Any]], Any]:
    """Give what is said up to the answer, and that."""
    said: list[dict[str, Any]] = []
    while (answer := one.receive()).kind == "PROGRESS":
        assert (answer.seq, answer.slot) == (1, 0)
        said += answer.json["reports"]
    return said, answer


def test_the_first_is_heard_at_once_and_then_the_newest(start: Start):
    one = child(
        start,
        """
        import time
        import cresset

        def predict(batch):
            for step in range(1000):
                cresset.current().progress(step / 1000, f"step {step}")
            time.sleep(0.2)
            return batch
        """,
    )
    one.send_objects(1, 2)
    said, answer = reports(one)
    assert answer.items == [(0, 1), (0, 2)]
    assert said[0] == {"items": [0, 1], "fraction": 0.0, "message": "step 0"}
    # What was held back comes although nothing is said after it.
    assert said[-1] == {"items": [0, 1], "fraction": 0.999, "message": "step 999"}
    assert len(said) < 50


def test_an_item_speaks_for_itself_where_it_is_known(start: Start):
    one = child(
        start,
        """
        import time
        import cresset

        class Model(cresset.Model):
            def preprocess(self, payload):
                cresset.current().progress(0.1, payload)
                return payload

            def predict(self, batch):
                time.sleep(0.05)
                cresset.current().progress(0.5, item=1)
                time.sleep(0.05)
                return batch
        """,
    )
    one.send_objects("a", "b", "c", cancelled=(0,))
    said, answer = reports(one)
    assert answer.items[1:] == [(0, "b"), (0, "c")]
    of = {item: report["message"] for report in said for item in report["items"] if report["fraction"] == 0.1}
    assert of == {1: "b", 2: "c"}
    # The second input of `predict` is the third of the batch.
    assert [report["items"] for report in said if report["fraction"] == 0.5] == [[2]]


def lines(one: Child) -> tuple[list[dict[str, Any]], Any]:
    """Give the log lines up to the answer, and that."""
    said: list[dict[str, Any]] = []
    while (answer := one.receive()).kind == "LOGS":
        assert (answer.seq, answer.slot) == (1, 0)
        said += answer.json["lines"]
    return said, answer


def test_lines_are_of_the_items_that_they_are_written_about(start: Start):
    one = child(
        start,
        """
        import logging
        import cresset

        class Model(cresset.Model):
            def load(self):
                log = logging.getLogger("mine")
                log.setLevel(logging.INFO)
                log.addHandler(cresset.TaskLogHandler())
                log.info("of no task")
                self.log = log

            def preprocess(self, payload):
                self.log.info("read %s", payload)
                return payload

            def predict(self, batch):
                cresset.current().log("all", level="error")
                cresset.current().log("x" * 5000 + "\\udcff", item=1)
                self.log.debug("too little")
                self.log.warning("odd")
                return batch
        """,
        logs=True,
    )
    one.send_objects("a", "b", "c", cancelled=(0,))
    said, answer = lines(one)
    assert answer.items[1:] == [(0, "b"), (0, "c")]
    assert [(line["items"], line["level"], line["text"][:6]) for line in said] == [
        ([1], "info", "read b"),
        ([2], "info", "read c"),
        ([1, 2], "error", "all"),
        ([2], "info", "xxxxxx"),
        ([1, 2], "warning", "odd"),
    ]
    assert len(said[3]["text"]) == 4000


def test_lines_that_are_written_too_fast_are_counted(start: Start):
    one = child(
        start,
        """
        import cresset

        def predict(batch):
            for number in range(1000):
                cresset.current().log(str(number))
            return batch
        """,
        logs=True,
    )
    one.send_objects(1)
    said, answer = lines(one)
    assert answer.items == [(0, 1)]
    assert [line["text"] for line in said[:200]] == [str(number) for number in range(200)]
    # A process that is slow at it may write again before its end, and says each time what it has left out.
    left_out = [int(line["text"].split()[0]) for line in said if line["level"] == "warning"]
    assert said[-1]["level"] == "warning"
    assert sum(left_out) == 1000 - (len(said) - len(left_out))


def test_a_server_that_does_not_know_of_lines_hears_none(start: Start):
    one = child(start, "import cresset\ndef predict(b):\n    cresset.current().log('x')\n    return b")
    assert one.run_objects(1).items == [(0, 1)]


def test_a_server_that_does_not_know_of_it_hears_nothing(start: Start):
    one = child(
        start, "import cresset\ndef predict(b):\n    cresset.current().progress(1)\n    return b", progress_ms=None
    )
    assert one.run_objects(1).items == [(0, 1)]


def test_of_a_batch_that_has_ended_nothing_is_heard(start: Start):
    one = child(
        start,
        """
        import threading
        import time
        import cresset

        KEPT = []

        def keep_on():
            while True:
                for context in KEPT:
                    context.progress(0.5)

        def predict(batch):
            KEPT.append(cresset.current())
            if len(KEPT) == 1:
                threading.Thread(target=keep_on, daemon=True).start()
            return batch
        """,
        progress_ms=1,
    )
    for seq in range(1, 100):
        one.send_objects(seq, seq=seq)
        while (answer := one.receive()).kind == "PROGRESS":
            assert answer.seq == seq
        assert (answer.seq, answer.items) == (seq, [(0, seq)])


def test_a_soft_timeout_does_not_cut_a_message_in_two(start: Start):
    one = child(
        start,
        """
        import cresset

        def predict(batch):
            while True:
                cresset.current().progress(0.5, "x" * 400)
        """,
        progress_ms=1,
        soft_timeout_ms=30,
    )
    for seq in range(1, 6):
        one.send_objects(1, seq=seq)
        while (answer := one.receive()).kind == "PROGRESS":
            assert answer.json["reports"][0]["message"] == "x" * 400
        assert (answer.kind, answer.json["code"]) == ("ERROR", "soft_timeout")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("half",), TypeError),
        ((True,), TypeError),
        ((None,), TypeError),
        ((1.5,), ValueError),
        ((-0.1,), ValueError),
        ((float("nan"),), ValueError),
        ((0.5, 7), TypeError),
    ],
)
def test_what_is_no_progress_is_refused(arguments: tuple[Any, ...], error: type[Exception]):
    with pytest.raises(error, match="progress"):
        Context(Marks(bytes(2))).progress(*arguments)


def test_an_item_that_is_not_there_is_refused():
    context = Context(Marks(bytes(2)))
    context.progress(0.5, item=1)
    for item, error in ((2, IndexError), (-1, IndexError), ("1", TypeError), (True, TypeError)):
        with pytest.raises(error, match="item"):
            context.progress(0.5, item=item)  # pyright: ignore[reportArgumentType]


def test_a_long_message_is_cut():
    class Reporter:
        said = ""

        def report(self, _marks: object, _items: object, _fraction: float, message: str) -> None:
            self.said = message

    reporter = Reporter()
    Context(Marks(bytes(1), reporter=reporter)).progress(0, "m" * 10_000)  # pyright: ignore[reportArgumentType]
    assert (len(reporter.said), reporter.said[-4:]) == (500, "m...")


def test_saying_it_is_cheap(start: Start):
    one = child(
        start,
        """
        import time
        import cresset

        def predict(batch):
            began = time.perf_counter()
            for step in range(10_000):
                cresset.current().progress(step / 10_000)
            return [(time.perf_counter() - began) / 10_000] * len(batch)
        """,
        progress_ms=1000,
    )
    one.send_objects(1)
    _, answer = reports(one)
    assert answer.items[0][1] < 0.001, "a generous bound: it takes a few microseconds"
