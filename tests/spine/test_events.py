"""A task followed by server-sent events through the real server."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import cresset
import pytest
from conftest import Serve
from support.models import write_model
from support.server import LONG, Server

#: Each input names a pipe: it runs until somebody has written to that, and gives what was written.
HELD = """
from pathlib import Path

def predict(batch):
    return [Path(pipe).read_text() for pipe in batch]
"""


@contextmanager
def running(at: Path) -> Generator[None, None, None]:
    """Begins when a model process reads this pipe, and lets it go on at the end."""
    with at.open("w") as out:
        yield
        out.write("done")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """What a run waits for."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.fixture
def held(serve: Serve, tmp_path: Path) -> Server:
    """A served model whose runs a test lets end."""
    return serve(write_model(tmp_path / "models", "held", HELD)).wait_ready()


def test_events_are_those_of_the_standard(held: Server, pipe: Path) -> None:
    with held.http() as client:
        task_id = client.post("/v1/models/held/tasks", json={"input": str(pipe)}).json()["task_id"]
        with client.stream("GET", f"/v1/tasks/{task_id}/events") as answer, running(pipe):
            assert answer.headers["content-type"] == "text/event-stream"
            assert next(answer.iter_text()) == "retry: 1000\n\n"
        ended = client.get(f"/v1/tasks/{task_id}/events").text
        blocks = ended.removesuffix("\n\n").split("\n\n")
        assert blocks[0] == "retry: 1000"
        fields = dict(line.split(": ", 1) for line in blocks[-1].split("\n"))
        assert '"status":"SUCCESS"' in fields["data"]
        assert fields["event"] == "status"
        seen = client.get(f"/v1/tasks/{task_id}/events", headers={"last-event-id": fields["id"]})
        assert (seen.status_code, seen.content) == (204, b"")


def test_a_follower_sees_the_end_once_though_the_server_is_killed_on_the_way(
    held: Server, serve: Serve, pipe: Path, tmp_path: Path
) -> None:
    address = held.url.removeprefix("http://")
    states: list[cresset.TaskStatus] = []
    started = threading.Event()
    with cresset.Client(held.url, retries=cresset.Retries(attempts=200, max_delay=0.2)) as client:
        handle = client.submit("held", str(pipe))

        def follow() -> None:
            for state in handle.events(timeout=LONG):
                assert isinstance(state, cresset.TaskStatus)
                states.append(state)
                if state.status == "STARTED":
                    started.set()

        thread = threading.Thread(target=follow)
        thread.start()
        assert started.wait(LONG)
        held.kill()
        with serve(tmp_path / "models", "--listen", address).wait_ready().http(), running(pipe):
            pass
        thread.join(LONG)
        assert not thread.is_alive()
        told = [(state.status, state.attempts) for state in states]
        assert told[-1] == ("SUCCESS", 2), told
        assert len(set(told)) == len(told), "nothing is shown twice"
        assert states[-1].result == "done"
        assert ("STARTED", 1) in told
        assert states[-1] == handle.status()


def test_many_follow_one_task_and_leave_nothing_behind(held: Server, pipe: Path) -> None:
    async def follow(task: cresset.AsyncTaskHandle) -> str:
        return [event.status async for event in task.events(timeout=LONG) if isinstance(event, cresset.TaskStatus)][-1]

    async def all_of_them() -> list[str]:
        async with cresset.AsyncClient(held.url) as client:
            handle = await client.submit("held", str(pipe))
            following = [asyncio.ensure_future(follow(handle)) for _ in range(50)]
            with await asyncio.to_thread(pipe.open, "w") as out:
                out.write("done")
            return await asyncio.gather(*following)

    assert asyncio.run(all_of_them()) == ["SUCCESS"] * 50
