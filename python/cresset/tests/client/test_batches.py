"""Many tasks in one request."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import cresset
from cresset.testing import MockServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path


def double(value: Any) -> Any:
    if value == "bad":
        raise ValueError("no")
    return value * 2


@pytest.fixture
def server() -> MockServer:
    return MockServer({"double": double})


def test_lines_become_tasks_and_results_come_in_order(server: MockServer):
    with server.client() as client:
        lines = [{"input": 1}, {"input": "bad"}, {"inptu": 2}, {"input": 4, "priority": 5}]
        batch = client.batch(lines, model="double", metadata={"night": 7})
        ended = batch.wait(timeout=10)
        assert (ended.status, ended.accepted, ended.total, ended.metadata) == ("completed", 4, 4, {"night": 7})
        assert (ended.counts.success, ended.counts.failure, ended.counts.invalid) == (2, 1, 1)
        assert ended.is_final
        found = list(batch.results())
        assert [line.index for line in found] == [0, 1, 2, 3]
        assert [line.status for line in found] == ["SUCCESS", "FAILURE", "INVALID", "SUCCESS"]
        assert [line.result for line in found] == [2, None, None, 8]
        assert found[1].error is not None
        assert found[1].error.type == "ValueError"
        assert found[2].error is not None
        assert "inptu" in found[2].error.message
        assert found[2].task_id is None
        assert [line.index for line in batch.results(start=3)] == [3]
        assert client.batch_of(batch.id).status() == ended
        assert repr(batch) == f"BatchHandle({batch.id!r})"


def test_a_file_is_sent_as_it_is(server: MockServer, tmp_path: Path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"input": 1}\n\n{"input": 2}')
    with server.client() as client:
        for name in (path, str(path)):
            assert [line.result for line in client.batch(name, model="double").results()] == [2, 4]
        with pytest.raises(FileNotFoundError):
            client.batch(tmp_path / "none", model="double")


def test_many_inputs_are_read_once_and_as_they_are_sent(server: MockServer):
    read: list[int] = []

    def inputs() -> Generator[int, None, None]:
        for number in range(1000):
            read.append(number)
            yield number

    with server.client() as client:
        batch = client.submit_many("double", inputs(), priority=3)
        assert [line.result for line in batch.results()] == [number * 2 for number in range(1000)]
        assert read == list(range(1000))
        first = next(iter(batch.results())).task_id
        assert first is not None
        assert client.task(first).status().priority == 3


def test_what_is_no_line_is_refused_by_its_number(server: MockServer):
    with server.client() as client:
        with pytest.raises(TypeError, match="line 1 must be a dict"):
            client.batch([{"input": 1}, 2], model="double")  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="line 0"):
            client.batch([{"input": float("nan")}], model="double")
        with pytest.raises(cresset.UnknownModel):
            client.batch([], model="dubble")
        with pytest.raises(cresset.UnknownBatch):
            client.batch_of("nonsense").status()
        with pytest.raises(ValueError, match="start"):
            client.batch_of("x").results(start=-1)


def test_a_batch_is_cancelled(server: MockServer):
    server = MockServer({"double": double}, run_at_submit=False)
    with server.client() as client:
        batch = client.submit_many("double", [1, 2])
        assert batch.status().status == "in_progress"
        assert [line.status for line in batch.results()] == ["PENDING", "PENDING"]
        with pytest.raises(TimeoutError, match="in_progress"):
            batch.wait(timeout=0)
        ended = batch.cancel()
        assert (ended.status, ended.counts.revoked) == ("cancelled", 2)
        assert batch.wait().cancelled_at is not None


class Breaking(httpx.BaseTransport):
    """Breaks the first requests off half way, then goes on to a server; keeps what came each time."""

    def __init__(self, inner: httpx.MockTransport, breaks: int) -> None:
        self.inner = inner
        self.breaks = breaks
        self.came: list[bytes] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and self.breaks:
            self.breaks -= 1
            assert isinstance(request.stream, httpx.SyncByteStream)
            self.came.append(next(iter(request.stream)))
            raise httpx.WriteError("the connection broke")
        response = self.inner.handle_request(request)
        if request.method == "POST":
            self.came.append(request.content)
        return response


def test_a_connection_that_breaks_has_all_lines_sent_again_under_one_key(server: MockServer):
    transport = Breaking(server.transport(), 2)
    retries = cresset.Retries(base_delay=0.0)
    with cresset.Client("http://mock.invalid", transport=transport, retries=retries) as client:
        batch = client.submit_many("double", ("x" * 1000 for _ in range(500)))
        assert batch.status().accepted == 500
    whole = transport.came[-1]
    assert len(transport.came) == 3
    assert all(whole.startswith(part) and 0 < len(part) < len(whole) for part in transport.came[:2])
    assert len(server.submitted()) == 500


def test_results_go_on_where_the_connection_broke():
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params["from"])
        asked.append(request.url.params["from"])
        lines = [
            json.dumps({"index": i, "task_id": str(i), "status": "SUCCESS", "result": i}) for i in range(start, 10)
        ]
        text = "\n".join(lines) + "\n"

        def broken() -> Generator[bytes, None, None]:
            yield text[: len(text) // 2].encode()
            raise httpx.ReadError("the connection broke")

        return httpx.Response(200, content=broken() if len(asked) < 3 else text.encode())

    retries = cresset.Retries(base_delay=0.0)
    with cresset.Client("http://mock.invalid", transport=httpx.MockTransport(answer), retries=retries) as client:
        assert [line.result for line in client.batch_of("b").results()] == list(range(10))
    assert asked[0] == "0"
    assert [int(start) for start in asked] == sorted({int(start) for start in asked})


def test_the_asynchronous_client_does_the_same(server: MockServer, tmp_path: Path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"input": 5}\n')
    asyncio.run(_as_the_other(server, path))


async def _as_the_other(server: MockServer, path: Path) -> None:
    async def inputs() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number

    async with server.async_client() as client:
        batch = await client.submit_many("double", inputs())
        assert (await batch.wait(timeout=10)).status == "completed"
        assert [line.result async for line in batch.results()] == [0, 2, 4]
        assert [line.result async for line in (await client.batch(path, model="double")).results()] == [10]
        again = await client.batch([{"input": 1}], model="double", idempotency_key="k")
        assert (await client.batch([{"input": 1}], model="double", idempotency_key="k")).id == again.id
        with pytest.raises(cresset.IdempotencyKeyReused):
            await client.batch([], model="double", idempotency_key="k")
        assert (await again.wait(timeout=10)).status == "completed"
        late = await again.cancel()
        assert (late.status, late.cancelled_at) == ("completed", None), "too late"
        eta = "2100-01-01T00:00:00Z"
        waiting = await client.batch([{"input": 1, "eta": eta}], model="double")
        assert (await waiting.cancel()).status == "cancelled"
        assert (await client.batch_of(again.id).status()).id == again.id
        assert repr(again) == f"AsyncBatchHandle({again.id!r})"
