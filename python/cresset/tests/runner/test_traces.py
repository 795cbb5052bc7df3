"""The traces of the callers: told before a batch, asked for by the model, gone with the batch."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

import pytest

from cresset._current import Context, Marks
from reference import Tensor, tensor_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference import Child

    Start = Callable[..., Child]

FIRST = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECOND = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
TELLS = """
    import cresset

    class Model(cresset.Model):
        def preprocess(self, payload):
            here = cresset.current()
            return [here.traceparent, here.tracestate]

        def predict(self, batch):
            here = cresset.current()
            return [[*one, here.traceparent, here.tracestate, list(here.traceparents)] for one in batch]

        def postprocess(self, output):
            return [*output, list(cresset.current().traceparents)]
"""


def send_traces(one: Child, *traces: dict[str, str] | None, seq: int = 1) -> None:
    one.send("TRACES", json.dumps({"traces": traces}).encode(), seq=seq, batch=len(traces))


def test_each_item_has_its_callers_and_a_batch_has_all(start: Start):
    one = start(textwrap.dedent(TELLS))
    assert one.ready().json["traces"] is True
    send_traces(one, None, {"traceparent": FIRST, "tracestate": "a=1"}, {"traceparent": SECOND})
    answer = one.run_objects(1, 2, 3)
    batch = [FIRST, "a=1", [None, FIRST, SECOND]]
    assert answer.items == [
        (0, [None, None, *batch, [None]]),
        (0, [FIRST, "a=1", *batch, [FIRST]]),
        (0, [SECOND, None, *batch, [SECOND]]),
    ]
    # The next batch has none of it.
    assert one.run_objects(1, seq=2).items == [(0, [None, None, None, None, [None], [None]])]


@pytest.mark.torch
def test_a_tensor_model_has_them_too(start: Start):
    one = start(
        textwrap.dedent("""
        import cresset

        class Model(cresset.Model):
            def predict(self, x):
                return x

            def postprocess(self, output):
                return cresset.current().traceparent
        """)
    )
    one.ready(inputs=[tensor_spec("x", "float32", 1)])
    send_traces(one, {"traceparent": FIRST}, None)
    assert one.run(Tensor("float32", (2, 1), [1.0, 2.0])).items == [(0, FIRST), (0, None)]


@pytest.mark.parametrize(("count", "seq"), [(1, 1), (2, 7)])
def test_traces_of_another_batch_are_a_protocol_error(start: Start, count: int, seq: int):
    one = start(textwrap.dedent(TELLS))
    one.ready()
    send_traces(one, *[None] * count, seq=seq)
    one.send_objects(1, 2)
    assert one.wait() == 70
    assert f"TRACES of batch {seq}" in one.logs()


def test_what_is_kept_of_a_batch_goes_on_saying_its_trace():
    marks = Marks(bytes(2))
    marks.traces = [None, (FIRST, None)]
    whole, second = Context(marks), Context(marks, (1,))
    marks.close()
    assert (whole.traceparent, second.traceparents, Context(marks, (0,)).traceparent) == (FIRST, (FIRST,), None)
