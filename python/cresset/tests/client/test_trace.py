"""The trace that a request goes on with: the caller's word, or OpenTelemetry's current span where that is imported."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import cresset
from cresset.testing import MockServer

if TYPE_CHECKING:
    from collections.abc import Sequence

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def sent_by(**options: Any) -> list[dict[str, str]]:
    """What each call of both clients says of the trace."""
    seen: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append({name: text for name, text in request.headers.items() if name.startswith("trace")})
        if request.headers.get("accept") == "text/event-stream":
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=END)
        return httpx.Response(200, json={"task_id": "t", "batch_id": "b", "result": 1, "model": "m", "version": "1"})

    with cresset.Client("http://x.invalid", transport=httpx.MockTransport(answer), **NO_RETRY) as client:
        client.submit("m", 1, **options)
        client.predict("m", 1, **options)
        list(client.stream("m", 1, **options))
        client.submit_many("m", [1], **options)

    async def main() -> None:
        async with cresset.AsyncClient("http://x.invalid", transport=httpx.MockTransport(answer), **NO_RETRY) as other:
            await other.submit("m", 1, **options)
            await other.predict("m", 1, **options)
            async for _ in other.stream("m", 1, **options):
                pass
            await other.submit_many("m", [1], **options)

    asyncio.run(main())
    assert len(seen) == 8
    return seen


NO_RETRY: dict[str, Any] = {"retries": 0}
END = 'event: result\ndata: {"result": 1, "model": "m", "version": "1"}\n\n'


class State(dict[str, str]):
    def to_header(self) -> str:
        return ",".join(f"{key}={value}" for key, value in self.items())


@pytest.fixture
def opentelemetry(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the program would have imported; the tests set where it is."""
    ids = {"trace_id": int(TRACE, 16), "span_id": 0xF067AA0BA902B7}
    here = SimpleNamespace(is_valid=True, **ids, trace_flags=1, trace_state={})
    trace = ModuleType("opentelemetry.trace")
    trace.get_current_span = lambda: SimpleNamespace(get_span_context=lambda: here)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", trace)
    return here


def test_nothing_is_said_unless_somebody_says_it():
    assert sent_by() == [{}] * 8


def test_the_callers_word_goes_with_every_call(opentelemetry: SimpleNamespace):
    assert opentelemetry.is_valid, "and goes before the current span"
    other = f"00-{TRACE}-0000000000000001-00"
    assert sent_by(traceparent=other) == [{"traceparent": other}] * 8


def test_the_current_span_of_opentelemetry_goes_with_every_call(opentelemetry: SimpleNamespace):
    assert sent_by() == [{"traceparent": PARENT}] * 8
    opentelemetry.trace_state, opentelemetry.trace_flags = State(a="1", b="2"), 2
    said = {"traceparent": PARENT[:-1] + "0", "tracestate": "a=1,b=2"}
    assert sent_by() == [said] * 8
    opentelemetry.is_valid = False
    assert sent_by() == [{}] * 8


def test_a_module_that_is_just_being_imported_says_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", ModuleType("opentelemetry.trace"))
    assert sent_by() == [{}] * 8


def test_opentelemetry_is_never_imported_by_us(tmp_path: Any):
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise SystemExit('imported')")
    code = (
        "import cresset, httpx, sys\n"
        "with cresset.Client('http://127.0.0.1:9', retries=0) as client:\n"
        "    try: client.submit('m', 1)\n"
        "    except cresset.ConnectionFailed: pass\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)\n"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "00",
        f"00-{TRACE}-00f067aa0ba902b7",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{PARENT}-more",
        f"{PARENT}\r\nx: y",
    ],
)
def test_what_is_no_traceparent_is_refused_before_anything_is_sent(wrong: str):
    with cresset.Client("http://x.invalid", transport=httpx.MockTransport(_never)) as client:
        with pytest.raises(ValueError, match="traceparent must be as W3C Trace Context has it"):
            client.submit("m", 1, traceparent=wrong)
        with pytest.raises(TypeError, match="must be text, not int"):
            client.submit("m", 1, traceparent=7)  # pyright: ignore[reportArgumentType]


def _never(_request: httpx.Request) -> httpx.Response:
    raise AssertionError("nothing should be sent")


@pytest.mark.parametrize("newer", [f"01-{TRACE}-00f067aa0ba902b7-01", f"cc-{TRACE}-00f067aa0ba902b7-01-more"])
def test_the_stand_in_shows_the_trace_of_a_task_as_the_server_does(newer: str):
    server = MockServer({"m": lambda value: value})
    with server.client() as client:
        assert _trace_ids(client, [None, PARENT, newer]) == [None, TRACE, TRACE]
        assert client.submit_many("m", [1], traceparent=PARENT).wait(timeout=5)
        assert [server_task.trace_id for server_task in _tasks(client)][:1] == [TRACE]
    answer = server.transport().handle_request(_raw("not a traceparent"))
    assert answer.status_code == 202


def _raw(traceparent: str) -> httpx.Request:
    url = "http://x.invalid/v1/models/m/tasks"
    return httpx.Request("POST", url, json={"input": 1}, headers={"traceparent": traceparent})


def _trace_ids(client: cresset.Client, parents: Sequence[str | None]) -> list[str | None]:
    return [client.submit("m", 1, traceparent=parent).status().trace_id for parent in parents]


def _tasks(client: cresset.Client) -> list[Any]:
    return [client.task(task.id).status() for task in client.tasks()]
