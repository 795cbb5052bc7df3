"""The memory that both sides share: who may still look at it, and when it is replaced."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from reference import Slab, Tensor, tensor_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference import Child

    Start = Callable[..., Child]

pytestmark = pytest.mark.torch

X = [tensor_spec("x", "float32", 2)]
Y = [tensor_spec("y", "float32", 2)]
IDENTITY = "def predict(batch):\n    return batch * 2"


def x(*values: float) -> Tensor:
    """A batch of pairs."""
    return Tensor("float32", (len(values) // 2, 2), list(values))


def test_two_batches_in_flight_use_two_slots(start: Start):
    child = start(IDENTITY)
    child.ready(inputs=X, outputs=Y)
    for seq in range(0, 40, 2):
        child.send_run(x(seq, 1), seq=seq, slot=0)
        child.send_run(x(seq, 2, 3, 4), seq=seq + 1, slot=1)
        first, second = child.receive(), child.receive()
        assert (first.seq, first.slot, first.tensors) == (seq, 0, [x(2 * seq, 2)])
        assert (second.seq, second.slot, second.tensors) == (seq + 1, 1, [x(2 * seq, 4, 6, 8)])


def test_changing_the_input_in_place_harms_nobody(start: Start):
    child = start("""
        def predict(batch):
            batch.add_(1).unsqueeze_(1).mul_(2)
            return batch.squeeze(1)
    """)
    child.ready(inputs=X, outputs=Y)
    for _ in range(3):
        assert child.run(x(1, 2)).tensors == [x(4, 6)]


def test_returning_the_input_itself_works(start: Start):
    child = start("def predict(batch):\n    return batch")
    child.ready(inputs=X, outputs=Y)
    assert child.run(x(1, 2)).tensors == [x(1, 2)]
    assert child.run(x(3, 4)).tensors == [x(3, 4)]


def test_a_model_that_keeps_its_input_is_told_once_and_gets_copies(start: Start):
    child = start("""
        kept = []
        def predict(batch):
            out = batch + sum(k[0, 0] for k in kept[1:])
            kept.append(batch[:, :1])
            return out
    """)
    child.ready(inputs=X, outputs=Y)
    child.send_run(x(1, 1))
    assert child.receive().kind == "NOTE"
    assert child.receive().tensors == [x(1, 1)]
    # From now on what it keeps stays as it was.
    assert child.run(x(10, 10)).tensors == [x(10, 10)]
    assert child.run(x(5, 5)).tensors == [x(15, 15)]
    assert child.run(x(5, 5)).tensors == [x(20, 20)]


def test_copy_inputs_gives_copies_from_the_start(start: Start):
    child = start("kept = []\ndef predict(batch):\n    kept.append(batch)\n    return kept[0].clone()")
    child.ready(inputs=X, outputs=Y, copy_inputs=True)
    assert child.run(x(1, 1)).tensors == [x(1, 1)]
    assert child.run(x(2, 2)).tensors == [x(1, 1)]


def test_an_exception_that_holds_the_input_is_no_keeping(start: Start):
    child = start("""
        def predict(batch):
            try:
                mine = batch
                raise ValueError
            except ValueError as error:
                loop = [error]
                loop.append(loop)
            return mine
    """)
    child.ready(inputs=X, outputs=Y)
    for _ in range(3):
        assert child.run(x(1, 1)).tensors == [x(1, 1)]


def test_resize_gives_a_larger_slab_while_old_tensors_live(start: Start):
    child = start("kept = []\ndef predict(batch):\n    kept.append(batch)\n    return batch * 2 + 0 * kept[0].sum()")
    child.ready(inputs=[tensor_spec("x", "float32", -1)], outputs=[tensor_spec("y", "float32", -1)])
    child.send_run(Tensor("float32", (1, 2), [1, 2]))
    assert child.receive().kind == "NOTE"
    assert child.receive().tensors[0].values == [2, 4]
    old = child.slab
    assert old is not None
    child.slab = Slab(input_len=1 << 20, output_len=1 << 20)
    child.send("RESIZE", json.dumps({"slab": child.slab.json()}).encode(), fds=[child.slab.fd])
    old.close()
    big = Tensor("float32", (1, 100_000), [1.0] * 100_000)
    answer = child.run(big, slot=1)
    assert answer.flags == 0
    assert answer.tensors[0].values == [2.0] * 100_000
    child.shut_down()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n_tensors": 0}, "bytes lie after the last tensor descriptor"),
        ({"batch": 3}, "in a batch of 3"),
        ({"slot": 9}, "no place for 1 items in slot 9"),
        ({"slot": 1}, "lies outside its slot"),
    ],
)
def test_a_run_that_does_not_fit_the_slab_is_a_protocol_error(change: dict[str, int], text: str, start: Start):
    import struct

    child = start(IDENTITY)
    child.ready(inputs=X, outputs=Y)
    body = struct.pack("<BBHIqqQQ", 8, 2, 0, 0, 1, 2, 0, 8)
    child.send("RUN", body, fds=(), **{"n_tensors": 1, "batch": 1, "seq": 1, **change})
    assert child.wait() == 70
    assert text in child.logs()
