"""How a task is tried again: said by both clients, in both forms of a body, shown, played by the stand-in server."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

import cresset
from cresset.client import _messages as messages
from cresset.testing import MockServer


def flaky(failures: int, error: type[Exception] = TimeoutError) -> MockServer:
    """A model that raises so many times before it answers."""
    left = [failures]

    def model(value: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error("busy")
        return value

    return MockServer({"echo": model})


def test_it_goes_beside_the_input_or_in_a_header_in_the_words_of_model_toml():
    policy = cresset.RetryPolicy(max_retries=5, delay=1.5, max_delay=timedelta(minutes=2), on=["OSError", "*"])
    said = {"max_retries": 5, "delay": "1500ms", "max_delay": "120000ms", "on": ["OSError", "*"]}
    order = messages.submit("m", 0, None, retry=policy)
    content = order.with_json(1).content
    assert content is not None
    assert json.loads(content) == {"input": 1, "retry": said}
    assert order.retry is not None
    assert json.loads(order.retry) == said
    for nothing in (None, cresset.RetryPolicy()):
        assert messages.submit("m", 0, None, retry=nothing).retry is None


def test_what_cannot_be_is_refused_before_anything_is_sent():
    bad: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"max_retries": -1}, ValueError, "from 0 to 1000"),
        ({"max_retries": 1.5}, TypeError, "must be an int"),
        ({"delay": -1}, ValueError, "from 0 to 86400 seconds"),
        ({"delay": float("nan")}, ValueError, "from 0 to 86400 seconds"),
        ({"max_delay": "1s"}, TypeError, "must be seconds or a timedelta"),
        ({"delay": 5, "max_delay": 1}, ValueError, "shorter than delay"),
        ({"on": "OSError"}, TypeError, r"write \['OSError'\]"),
        ({"on": ["no class"]}, ValueError, "not 'no class'"),
        ({"on": [OSError]}, TypeError, "names of exceptions"),
        ({"on": ["A"] * 65}, ValueError, "at most 64"),
    ]
    for options, kind, text in bad:
        with pytest.raises(kind, match=text):
            cresset.RetryPolicy(**options)
    wrong: Any = {"max_retries": 1}
    with pytest.raises(TypeError, match=r"cresset\.RetryPolicy, not dict"):
        messages.submit("m", 0, None, retry=wrong)


def test_it_is_shown_as_it_was_said():
    policy = cresset.RetryPolicy(max_retries=5, delay=1.5, on=("OSError",))
    with flaky(0).client() as client:
        assert client.submit("echo", 1, retry=policy).status().retry == policy
        assert client.submit("echo", 1).status().retry is None


def test_a_task_of_the_stand_in_is_tried_again_as_it_says():
    mock = flaky(2)
    with mock.client() as client:
        handle = client.submit("echo", 7, retry=cresset.RetryPolicy(max_retries=2, delay=60, on=["TimeoutError"]))
        first = handle.status()
        assert (first.status, first.retries, first.attempts) == ("RETRY", 1, 1)
        assert first.eta is not None
        assert first.history[0].reason == "TimeoutError: busy"
        mock.advance(60)
        assert handle.status().retries == 2
        mock.advance(119)
        assert handle.status().status == "RETRY"  # the second wait is twice as long
        mock.advance(2)
        assert handle.result(timeout=0) == 7
        ended = handle.status()
        assert (ended.attempts, ended.retries, ended.eta) == (3, 2, None)


def test_other_exceptions_and_one_time_too_many_are_its_end():
    for policy, retries in (
        (cresset.RetryPolicy(max_retries=1, delay=0, on=["*"]), 1),
        (cresset.RetryPolicy(max_retries=9, delay=0, on=["OSError"]), 0),
        (cresset.RetryPolicy(max_retries=9), 0),
    ):
        with flaky(9, ValueError).client() as client:
            handle = client.submit("echo", 1, retry=policy)
            with pytest.raises(cresset.TaskFailed, match="ValueError: busy") as failed:
                handle.result(timeout=5)
            assert failed.value.task.retries == retries


def test_a_task_that_waits_to_be_tried_again_can_be_cancelled_and_expires():
    policy = cresset.RetryPolicy(delay=60, on=["*"])
    mock = flaky(9)
    with mock.client() as client:
        cancelled = client.submit("echo", 1, retry=policy)
        assert cancelled.cancel().when == "before"
        expired = client.submit("echo", 1, retry=policy, deadline=30)
        mock.advance(31)
        assert expired.status().status == "REVOKED"


def test_the_asyncio_client_says_it_too():
    async def main() -> cresset.TaskStatus:
        async with flaky(0).async_client() as client:
            handle = await client.submit("echo", 1, retry=cresset.RetryPolicy(max_retries=0))
            return await handle.status()

    assert asyncio.run(main()).retry == cresset.RetryPolicy(max_retries=0)
