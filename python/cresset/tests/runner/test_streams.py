"""Streaming models: pieces go to the server at once, in order, and joined they are the result."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference import Child

    Start = Callable[..., Child]

TOGETHER = """
    def predict(batch):
        for step in range(max(batch)):
            yield {at: f"{step} " for at, count in enumerate(batch) if step < count}
"""
EACH = """
    def count(item):
        for step in range(item):
            yield f"{step} "

    def predict(batch):
        return [count(item) for item in batch]
"""


def child(start: Start, text: str, **hello: Any) -> Child:
    one = start(textwrap.dedent(text))
    one.ready(stream=True, **hello)
    return one


@pytest.mark.parametrize("text", [TOGETHER, EACH])
def test_every_item_gets_its_pieces_in_order_and_the_whole(start: Start, text: str):
    one = child(start, text)
    one.send_objects(3, 1, 0)
    chunks, answer = one.streamed()
    assert answer.items == [(0, "0 1 2 "), (0, "0 "), (0, [])]
    assert [chunk for chunk in chunks if chunk[0] == 0] == [(0, 0, "0 "), (0, 1, "1 "), (0, 2, "2 ")]
    assert [chunk for chunk in chunks if chunk[0] != 0] == [(1, 0, "0 ")]
    one.send_objects(1, seq=2)
    assert one.streamed()[1].items == [(0, "0 ")]


def test_a_piece_goes_when_it_is_yielded(start: Start, tmp_path: Any):
    gate = tmp_path / "gate"
    one = child(
        start,
        f"""
        import pathlib, time

        def predict(batch):
            yield 0, "first"
            while not pathlib.Path({str(gate)!r}).exists():
                time.sleep(0.001)
            yield 0, "second"
        """,
    )
    one.send_objects(1)
    assert one.receive().chunks == [(0, 0, "first")]
    gate.touch()
    chunks, answer = one.streamed()
    assert (chunks, answer.items) == ([(0, 1, "second")], [(0, "firstsecond")])


def test_pieces_are_any_json_and_the_model_may_join_them(start: Start):
    text = """
        import cresset

        class Model(cresset.Model):
            def predict(self, batch):
                return [iter(item) for item in batch]
    """
    one = child(start, text)
    one.send_objects([1, None, {"a": [2]}], ["x", 3])
    chunks, answer = one.streamed()
    assert answer.items == [(0, [1, None, {"a": [2]}]), (0, ["x", 3])]
    assert len(chunks) == 5
    joins = """
            def join(self, chunks):
                return {"sum": sum(chunks)}

            def postprocess(self, output):
                return output["sum"] * 10
    """
    one = child(start, text + joins)
    one.send_objects([1, 2], ["not", "numbers"])
    _, answer = one.streamed()
    assert answer.items[0] == (0, 30)
    assert (answer.items[1][0], answer.items[1][1]["type"]) == (1, "TypeError")


def test_a_generator_of_one_item_fails_alone(start: Start):
    one = child(
        start,
        """
        def speak(item):
            yield "a"
            if item == "bad":
                raise ValueError("no more")
            if item == "nan":
                yield float("nan")
            if item == "long":
                yield "x" * (1 << 20)
            yield "b"

        def predict(batch):
            return [speak(item) for item in batch]
        """,
    )
    one.send_objects("good", "bad", "nan", "long")
    chunks, answer = one.streamed()
    assert answer.items[0] == (0, "ab")
    ends = [(status, end["stage"], end["type"]) for status, end in answer.items[1:]]
    assert ends == [(1, "predict", "ValueError"), (1, "output", "NonFiniteOutput"), (1, "output", "BadOutput")]
    assert {(item, piece) for item, _, piece in chunks} == {(0, "a"), (1, "a"), (2, "a"), (3, "a"), (0, "b")}


def test_what_the_generator_of_a_batch_raises_is_of_the_batch(start: Start):
    one = child(start, 'def predict(batch):\n    yield 0, "a"\n    raise ValueError("no more")')
    one.send_objects(1, 2)
    chunks, answer = one.streamed()
    assert (len(chunks), answer.kind, answer.json["type"]) == (1, "ERROR", "ValueError")


CLOSES = """
    import pathlib, time

    def speak(item):
        try:
            yield "a"
            pathlib.Path("began").touch()
            while True:
                time.sleep(0.001)
                yield "b"
        finally:
            pathlib.Path(f"closed-{item}").touch()
"""


def test_a_cancelled_item_is_closed_and_the_others_go_on(start: Start):
    one = child(
        start,
        CLOSES
        + """
    def short(item):
        while not pathlib.Path("closed-endless").exists():
            time.sleep(0.001)
            yield "c"

    def predict(batch):
        return [speak(batch[0]), short(batch[1])]
    """,
    )
    one.send_objects("endless", "short")
    one.receive()
    one.board.cancel(0)
    _, answer = one.streamed()
    assert [status for status, _ in answer.items] == [2, 0]
    assert set(answer.items[1][1]) == {"c"}


@pytest.mark.parametrize("how", ["speak(batch[0])", "[speak(batch[0])]"])
def test_a_batch_that_nobody_wants_is_closed(start: Start, how: str):
    predict = f"\n    def predict(batch):\n        return {how}\n"
    pairs = CLOSES.replace('yield "', 'yield 0, "') if not how.startswith("[") else CLOSES
    one = child(start, pairs + predict)
    one.send_objects("x")
    one.receive()
    one.board.cancel(0)
    _, answer = one.streamed()
    assert [status for status, _ in answer.items] == [2]
    assert (one.folder / "closed-x").exists()


def test_a_soft_timeout_may_be_caught_and_ends_in_order(start: Start):
    one = child(
        start,
        """
        import cresset, time

        def speak(item):
            try:
                while True:
                    time.sleep(0.001)
                    yield "a"
            except cresset.SoftTimeout:
                if item == "ends":
                    yield "!"
                else:
                    raise

        def predict(batch):
            return [speak(item) for item in batch]
        """,
        soft_timeout_ms=50,
    )
    one.send_objects("ends")
    _, answer = one.streamed()
    assert answer.items[0][1].endswith("a!")
    one.send_objects("raises", seq=2)
    _, answer = one.streamed()
    assert (answer.kind, answer.json["code"]) == ("ERROR", "soft_timeout")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return batch", "a int for item 0, not a generator"),
        ("return None", "predict returned None"),
        ("return []", "0 generators for a batch of 1"),
        ("yield 'text'", "predict yielded a str"),
        ("yield 1, 'text'", "a piece of item 1 of a batch of 1"),
        ("yield {'0': 'text'}", "a piece of item '0' of a batch of 1"),
        ("yield 0, object()", "object"),
    ],
)
def test_what_is_no_piece_is_told_in_words(start: Start, body: str, message: str):
    one = child(start, f"def predict(batch):\n    {body}\n")
    answer = one.run_objects(1)
    assert answer.kind == "ERROR"
    assert (answer.json["stage"], answer.json["code"]) == ("output", "bad_output")
    assert message in answer.json["message"]
    assert one.run_objects(1, seq=2).kind == "ERROR", "and it goes on"


def test_progress_and_the_item_are_known_in_a_generator(start: Start):
    one = child(
        start,
        """
        import cresset

        def speak(item):
            cresset.current().progress(0.5, item)
            yield item

        def predict(batch):
            return [speak(item) for item in batch]
        """,
        progress_ms=1,
    )
    one.send_objects("a", "b")
    said: list[Any] = []
    while (answer := one.receive()).kind != "DONE_OBJECTS":
        if answer.kind == "PROGRESS":
            said += answer.json["reports"]
    assert said[0] == {"items": [0], "fraction": 0.5, "message": "a"}
    assert answer.items == [(0, "a"), (0, "b")]
