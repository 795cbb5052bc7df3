"""The soft time limit: the author's code is told, may end in order, and nothing of it reaches the next batch."""

from __future__ import annotations

import textwrap
import threading
import time
from typing import TYPE_CHECKING

import pytest

import cresset
from cresset._current import Context, Marks
from cresset.runner._soft import SoftLimit
from reference import Tensor, tensor_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference import Answer, Child

    Start = Callable[..., Child]

#: What the tests wait for at least once each; and what no batch that is well comes near to.
SOFT_MS = 150
#: Long enough that only an interruption ends it in time.
NEVER = 50.0

ENDLESS = f"""
    import time

    def predict(batch):
        until = time.monotonic() + {NEVER}
        while batch[0] == "endless" and time.monotonic() < until:
            pass
        return batch
"""


def interrupted(answer: Answer, stage: str) -> None:
    assert (answer.kind, answer.flags) == ("ERROR", 0), answer
    failure = answer.json
    assert (failure["code"], failure["type"], failure["stage"]) == ("soft_timeout", "SoftTimeout", stage)
    assert failure["message"] == "the batch had not ended after 0.15 s, the soft time limit"
    assert "limits.soft_timeout" in failure["hint"]
    assert "_soft.py" not in (failure["traceback"] or "")


def limited(start: Start, text: str, **hello: object) -> Child:
    child = start(textwrap.dedent(text))
    child.ready(soft_timeout_ms=SOFT_MS, **hello)
    return child


def test_code_that_never_asks_is_interrupted_and_the_process_goes_on(start: Start):
    child = limited(start, ENDLESS)
    for _ in range(3):
        began = time.monotonic()
        interrupted(child.run_objects("endless", 1), "predict")
        assert SOFT_MS / 1000 <= time.monotonic() - began < NEVER / 2
        assert child.run_objects(1, 2).items == [(0, 1), (0, 2)]


@pytest.mark.parametrize(
    "waits",
    [
        "time.sleep(50)",
        "threading.Event().wait(50)",
        "thread = threading.Thread(target=time.sleep, args=(50,), daemon=True); thread.start(); thread.join()",
        "ours, theirs = socket.socketpair(); ours.recv(1)",
        "subprocess.run(['sleep', '50'])",
    ],
)
def test_what_waits_in_a_system_call_is_interrupted_at_once(start: Start, waits: str):
    child = limited(
        start,
        f"""
        import socket, subprocess, threading, time

        def predict(batch):
            if batch[0]:
                {waits}
            return batch
        """,
    )
    began = time.monotonic()
    interrupted(child.run_objects(1), "predict")
    assert time.monotonic() - began < NEVER / 2
    assert child.run_objects(0).items == [(0, 0)]


def test_who_catches_it_has_time_to_give_what_there_is(start: Start):
    child = limited(
        start,
        """
        import time
        import cresset

        class Model(cresset.Model):
            def predict(self, batch):
                steps = 0
                try:
                    while True:
                        steps += 1
                except cresset.SoftTimeout:
                    assert cresset.current().timed_out
                    time.sleep(0.3)
                return [[item, steps > 0] for item in batch]

            def postprocess(self, output):
                time.sleep(0.1)
                return output + [cresset.current().timed_out]
        """,
    )
    assert child.run_objects("a", "b").items == [(0, ["a", True, True]), (0, ["b", True, True])]


@pytest.mark.parametrize("stage", ["preprocess", "postprocess"])
def test_a_slow_step_for_one_item_ends_the_batch_as_the_item_at_hand_may_only_be_the_last(start: Start, stage: str):
    child = limited(
        start,
        f"""
        import time
        import cresset

        class Model(cresset.Model):
            def predict(self, batch):
                return batch

            def {stage}(self, value):
                time.sleep(value / 1000)
                return value
        """,
    )
    interrupted(child.run_objects(50, 50, 50, 50), stage)
    assert child.run_objects(40, 1).items == [(0, 40), (0, 1)]


def test_time_that_passes_in_our_own_code_is_told_when_the_authors_runs_next(start: Start):
    child = limited(
        start,
        """
        import time

        class Slow(list):
            def __iter__(self):
                time.sleep(0.3)  # where the runner looks at what it got: nothing interrupts that
                return super().__iter__()

        import cresset

        class Model(cresset.Model):
            def predict(self, batch):
                return Slow(batch)
            def postprocess(self, output):
                return output
        """,
    )
    interrupted(child.run_objects(1), "postprocess")


def test_threads_of_the_model_may_ask(start: Start):
    child = limited(
        start,
        """
        import threading, time
        import cresset

        def work(into):
            try:
                while True:
                    cresset.current().raise_if_timed_out()
            except cresset.SoftTimeout:
                into.append("told")

        def predict(batch):
            told = []
            thread = threading.Thread(target=work, args=(told,))
            try:
                thread.start()
                time.sleep(50)
            except cresset.SoftTimeout:
                thread.join()
            return told * len(batch)
        """,
    )
    assert child.run_objects(1).items == [(0, "told")]


def test_who_raises_it_though_there_is_time_left_fails(start: Start):
    child = limited(
        start,
        """
        import cresset

        class Model(cresset.Model):
            def preprocess(self, payload):
                if payload == "item":
                    raise cresset.SoftTimeout
                return payload
            def predict(self, batch):
                if "batch" in batch:
                    raise cresset.SoftTimeout
                return batch
        """,
    )
    answer = child.run_objects("batch")
    assert (answer.kind, answer.json["code"], answer.json["type"]) == ("ERROR", "model_error", "SoftTimeout")
    assert "its time was not over" in answer.json["message"]
    (good, (status, failure)) = child.run_objects("a", "item").items
    assert good == (0, "a")
    assert (status, failure["code"], failure["stage"]) == (1, "model_error", "preprocess")


def test_the_authors_own_alarm_and_timer_stay_theirs(start: Start):
    child = limited(
        start,
        """
        import signal, time

        class Mine(Exception):
            pass

        def on_alarm(number, frame):
            raise Mine

        def predict(batch):
            signal.signal(signal.SIGALRM, on_alarm)
            signal.setitimer(signal.ITIMER_REAL, batch[0])
            try:
                time.sleep(50)
            except Mine:
                return ["mine"]
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        """,
    )
    assert child.run_objects(0.02).items == [(0, "mine")]
    interrupted(child.run_objects(40), "predict")


def test_without_a_limit_nothing_watches(start: Start):
    child = start("""
        import signal, threading
        import cresset

        def predict(batch):
            names = [thread.name for thread in threading.enumerate()]
            handled = signal.getsignal(signal.SIGRTMIN + 5)
            return [["cresset-soft-timeout" in names, handled == signal.SIG_DFL, cresset.current().timed_out]]
    """)
    child.ready()
    assert child.run_objects(1).items == [(0, [False, True, False])]


@pytest.mark.parametrize("bad", [0, -5, "soon", 1.5])
def test_a_limit_that_is_none_is_refused(start: Start, bad: object):
    child = start("def predict(batch):\n    return batch")
    child.hello(soft_timeout_ms=bad)  # pyright: ignore[reportArgumentType]  # it is wrong on purpose
    assert child.wait() == 70
    assert "soft_timeout_ms" in child.logs()


def test_batches_that_end_just_at_their_limit_never_reach_the_next_one(start: Start):
    """Every batch takes about its limit, so that many knocks come when it has just ended."""
    child = start("""
        import time

        def predict(batch):
            until = time.monotonic() + batch[0]
            while time.monotonic() < until:
                pass
            return batch
    """)
    child.ready(soft_timeout_ms=10)
    told = {True: 0, False: 0}
    for number in range(400):
        takes = (5 + number % 41 / 2) / 1000  # a busy interpreter lets the watch in every 5 ms
        child.send_objects(takes, seq=2 * number)
        child.send_objects(0.0, seq=2 * number + 1, slot=1)
        first, second = child.receive(), child.receive()
        assert second.items == [(0, 0.0)], "it took no time at all"
        assert (first.seq, second.seq) == (2 * number, 2 * number + 1)
        was_interrupted = first.kind == "ERROR"
        told[was_interrupted] += 1
        if was_interrupted:
            assert first.json["code"] == "soft_timeout"
        else:
            assert first.items == [(0, takes)]
    assert min(told.values()) > 20, told


def test_a_context_says_when_the_time_is_over_and_keeps_it():
    assert not Context(Marks(b"\0")).timed_out
    late = Context(Marks(b"\0", until=time.monotonic()))
    assert late.timed_out
    with pytest.raises(cresset.SoftTimeout):
        late.raise_if_timed_out()
    marks = Marks(b"\0", until=time.monotonic() + 0.05)
    kept = Context(marks)
    marks.close()
    time.sleep(0.06)
    assert not kept.timed_out, "it ended in time"
    kept.raise_if_timed_out()


def test_soft_timeout_is_no_exception_that_except_exception_eats():
    assert not issubclass(cresset.SoftTimeout, Exception)


def test_a_limit_that_is_off_costs_next_to_nothing():
    soft = SoftLimit(None)
    assert soft.begin() is None
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(10_000):
            soft.call("predict", abs, 1)
        best = min(best, (time.perf_counter() - began) / 10_000)
    assert best < 2e-6, f"{best * 1e9:.0f} ns"
    assert "cresset-soft-timeout" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.torch
def test_a_tensor_model_is_interrupted_and_may_give_what_there_is(start: Start):
    child = limited(
        start,
        """
        import cresset
        import torch

        class Model(cresset.Model):
            def predict(self, batch):
                if batch[0] == 0:
                    return batch
                try:
                    while True:
                        torch.ones(64, 64) @ torch.ones(64, 64)
                except cresset.SoftTimeout:
                    if batch[0] == 1:
                        raise
                    return batch + 10
        """,
        inputs=[tensor_spec("x", "float32", 1)],
    )

    def x(*values: float) -> Tensor:
        return Tensor("float32", (len(values), 1), list(values))

    for _ in range(2):
        interrupted(child.run(x(1, 5)), "predict")
        assert child.run(x(2, 5), slot=1).tensors[0].values == [12, 15]
        assert child.run(x(0, 5)).tensors[0].values == [0, 5]
