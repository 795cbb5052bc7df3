"""Many tasks in one request, at the real program: 100,000 lines are streamed, and kill -9 costs and doubles none."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import cresset
import httpx
import pytest
from conftest import Serve
from support.models import ECHO, write_model
from support.server import Server
from typing_extensions import Self

LINES = 100_000
PADDING = "x" * 400
"""With it the body of 100,000 lines is some 45 MB: much, if it were in memory as tasks."""
HELD_MAX_KIB = 200 * 1024
"""The memory that it may take beside what it has at rest: far less than the lines, their tasks and results together."""
ECHO_TOML = "[limits]\nmax_queue = 5000\n[batching]\nmax_batch_size = 256\n"


def resident_kib(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found, status
    return int(found[1])


class Watch:
    """Looks at the server's memory as long as it lasts."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.most = resident_kib(server)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._done.wait(0.05):
            self.most = max(self.most, resident_kib(self.server))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def numbered(count: int, padding: str) -> Iterator[dict[str, object]]:
    for number in range(count):
        yield {"number": number, "padding": padding}


def test_a_hundred_thousand_lines_are_streamed_in_and_out(serve: Serve, tmp_path: Path) -> None:
    server = serve(write_model(tmp_path / "models", "echo", ECHO, ECHO_TOML)).wait_ready()
    with cresset.Client(server.url) as client:
        client.submit("echo", {"warm": True}).result(timeout=60)
        before = resident_kib(server)
        with Watch(server) as watch:
            batch = client.submit_many("echo", numbered(LINES, PADDING), metadata={"night": 7})
            ended = batch.wait(timeout=600)
            assert (ended.status, ended.accepted, ended.total) == ("completed", LINES, LINES)
            assert ended.counts.success == LINES
            index = -1
            for index, line in enumerate(batch.results()):
                assert (line.index, line.status, line.result["number"]) == (index, "SUCCESS", index)
            assert index == LINES - 1
    print(f"resident before {before} KiB, at most {watch.most} KiB")
    assert watch.most - before < HELD_MAX_KIB, (before, watch.most)
    assert server.metric("cresset_tasks_total", model="echo", status="SUCCESS") == LINES + 1


class Cut(httpx.HTTPTransport):
    """Kills the server when so many bytes of a body have gone to it and some of its lines are accepted."""

    def __init__(self, server: Server, after: int) -> None:
        super().__init__()
        self._server = server
        self._after = after

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            assert isinstance(request.stream, httpx.SyncByteStream)
            request.stream = _Cutting(request.stream, self._server, self._after)
        return super().handle_request(request)


class _Cutting(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream, server: Server, after: int) -> None:
        self._inner = inner
        self._server = server
        self._after = after

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for piece in self._inner:
            yield piece
            sent += len(piece)
            if sent >= self._after and self._server.process.poll() is None:
                self._server.wait(has_accepted_some, "at the lines")
                self._server.kill()


def has_accepted_some(http: httpx.Client) -> bool:
    batches = http.get("/v1/batches").raise_for_status().json()["batches"]
    return bool(batches) and batches[0]["accepted"] > 0


def test_kill_9_in_the_middle_and_the_same_key_again_make_each_line_once(serve: Serve, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO, ECHO_TOML)
    count = 20_000
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps({"input": one}) + "\n" for one in numbered(count, "x" * 40)))
    server = serve(models).wait_ready()
    cut = Cut(server, path.stat().st_size // 2)
    with (
        cresset.Client(server.url, transport=cut, retries=0) as client,
        pytest.raises(cresset.ConnectionFailed),
    ):
        client.batch(path, model="echo", idempotency_key="night-7")

    server = serve(models).wait_ready()
    with server.http() as http:
        [half] = http.get("/v1/batches").raise_for_status().json()["batches"]
    assert half["status"] == "accepting"
    assert 0 < half["accepted"] < count, half
    assert half["total"] is None
    with cresset.Client(server.url) as client:
        batch = client.batch(path, model="echo", idempotency_key="night-7")
        assert batch.id == half["batch_id"]
        ended = batch.wait(timeout=300)
        assert (ended.status, ended.accepted, ended.counts.success) == ("completed", count, count)
        found = list(batch.results())
        assert [line.result["number"] for line in found] == list(range(count))
        assert len({line.task_id for line in found}) == count
        stored = sum(1 for _ in client.tasks("echo"))
    assert stored == count, "no line has made two tasks"
