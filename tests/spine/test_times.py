"""Tasks that are cancelled, wait for their time, or expire, as the Python client sees them through the real server."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cresset
import numpy as np
import pytest
from conftest import Serve
from support.models import ECHO, PLUS_ONE, PLUS_ONE_TOML, write_model
from support.server import LONG, Server

#: Each input names a pipe: it runs until somebody has written to that, and gives what was written. One at a time.
HELD = """
from pathlib import Path

def predict(batch):
    return [Path(pipe).read_text() for pipe in batch]
"""

ONE_BY_ONE = "[batching]\nmax_batch_size = 1\n"

#: Loads when somebody has written to the pipe, which says whether it can.
DOWN = """
from pathlib import Path

import cresset

class Down(cresset.Model):
    def load(self):
        raise OSError(Path("{pipe}").read_text())

    def predict(self, batch):
        return batch
"""


def pipe(folder: Path, name: str) -> Path:
    path = folder / name
    os.mkfifo(path)
    return path


@contextmanager
def running(at: Path) -> Generator[None, None, None]:
    """Begins when a model process reads this pipe, and lets it go on at the end."""
    with at.open("w") as out:
        yield
        out.write("done")


def nobody_reads(at: Path) -> bool:
    try:
        os.close(os.open(at, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno == errno.ENXIO
    return False


@pytest.fixture
def held(serve: Serve, tmp_path: Path) -> Server:
    """A served model whose runs a test lets end."""
    return serve(write_model(tmp_path / "models", "held", HELD, ONE_BY_ONE)).wait_ready()


def cancelled(task: cresset.TaskStatus) -> bool:
    return task.status == "REVOKED" and task.error is not None and task.error.message == "it was cancelled"


def test_a_delayed_task_is_cancelled_before_it_runs(held: Server, tmp_path: Path) -> None:
    unread = pipe(tmp_path, "unread")
    with cresset.Client(held.url) as client:
        handle = client.submit("held", str(unread), countdown=timedelta(days=1))
        assert handle.cancel() == cresset.Cancellation(handle.id, "REVOKED", "before")
        with pytest.raises(cresset.TaskRevoked, match="it was cancelled") as revoked:
            handle.result(timeout=LONG)
        assert (revoked.value.task.attempts, revoked.value.task.started_at) == (0, None)
        assert handle.cancel() == cresset.Cancellation(handle.id, "REVOKED", "too_late")
    assert nobody_reads(unread)


def test_a_task_is_cancelled_during_its_run_and_the_model_goes_on(held: Server, tmp_path: Path) -> None:
    first, second = pipe(tmp_path, "first"), pipe(tmp_path, "second")
    with cresset.Client(held.url) as client:
        handle, after = client.submit("held", str(first)), client.submit("held", str(second))
        with running(first):
            assert handle.cancel() == cresset.Cancellation(handle.id, "REVOKED", "during", timedelta(seconds=30))
            assert cancelled(handle.wait(timeout=LONG))  # while it still computes
        with running(second):  # so the first has ended, and said what it found
            pass
        assert after.result(timeout=LONG) == "done"
        assert cancelled(handle.status())
        assert handle.status().attempts == 1
        assert client.cancel(after.id) == cresset.Cancellation(after.id, "SUCCESS", "too_late")
        assert after.result() == "done"


def test_what_was_cancelled_stays_so_after_kill_9_of_the_server(held: Server, serve: Serve, tmp_path: Path) -> None:
    ran, waited, third = pipe(tmp_path, "ran"), pipe(tmp_path, "waited"), pipe(tmp_path, "third")
    with cresset.Client(held.url) as client:
        during = client.submit("held", str(ran))
        before = client.submit("held", str(waited), countdown=LONG)
        with ran.open("w"):  # a process reads it now
            said = [client.cancel(handle.id).when for handle in (during, before)]
            held.kill()
    assert said == ["during", "before"]
    held = serve(tmp_path / "models" / "held").wait_ready()
    with cresset.Client(held.url) as client:
        for handle, attempts in ((during, 1), (before, 0)):
            task = client.task(handle.id).status()
            assert cancelled(task)
            assert task.attempts == attempts
            with pytest.raises(cresset.TaskRevoked):
                client.task(handle.id).result(timeout=0)
        fresh = client.submit("held", str(third))
        with running(third):  # whatever was queued before it would have come first
            pass
        assert fresh.result(timeout=LONG) == "done"
    assert nobody_reads(ran)
    assert nobody_reads(waited)


def test_the_asyncio_client_cancels_what_another_call_waits_for(held: Server, tmp_path: Path) -> None:
    async def main() -> None:
        async with cresset.AsyncClient(held.url) as client:
            handle = await client.submit("held", str(pipe(tmp_path, "unread")), countdown=3600, expires=7200)
            status = await handle.status()
            assert status.eta is not None
            assert status.expires_at is not None
            assert status.expires_at - status.eta == timedelta(hours=1)
            waiter = asyncio.create_task(handle.result())
            cancellation = await client.cancel(handle.id)
            assert cancellation.when == "before"
            with pytest.raises(cresset.TaskRevoked):
                await waiter
            with pytest.raises(cresset.UnknownTask):
                await client.cancel("0192f0c1-0000-7000-8000-000000000000")

    asyncio.run(main())


def test_a_task_waits_for_its_time_also_across_kill_9_of_the_server(serve: Serve, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models).wait_ready()
    delay, at = timedelta(seconds=0.4), datetime.now(timezone(timedelta(hours=-5))) + timedelta(days=1)
    with cresset.Client(server.url) as client:
        soon = client.submit("echo", 1, countdown=delay)
        assert soon.result(timeout=LONG) == 1
        task = soon.status()
        assert task.started_at is not None
        assert task.started_at - task.created_at >= delay
        assert (task.eta, task.expires_at) == (None, None)
        passed = client.submit("echo", 2, eta=task.created_at)
        assert passed.result(timeout=LONG) == 2
        later = client.submit("echo", 3, eta=at, expires=at + timedelta(hours=1))
        across = client.submit("echo", 4, countdown=1)
    server.kill()
    with cresset.Client(serve(models).wait_ready().url) as client:
        assert client.task(across.id).result(timeout=LONG) == 4
        task = client.task(later.id).status()
        assert (task.status, task.attempts, task.queue_position) == ("PENDING", 0, None)
        assert (task.eta, task.expires_at) == (at, at + timedelta(hours=1))


def test_a_task_of_a_model_that_is_down_expires(serve: Serve, tmp_path: Path) -> None:
    gate = pipe(tmp_path, "gate")
    server = serve(write_model(tmp_path / "models", "down", DOWN.format(pipe=gate)))
    with cresset.Client(server.url) as client:
        expiring = client.submit("down", 1, expires=0.5)
        kept = client.submit("down", 1)
        with gate.open("w") as out:
            out.write("no weights here")
        server.wait(lambda c: c.get("/health/ready").json()["models"][0]["state"] != "starting", "aware of it")
        with pytest.raises(cresset.TaskRevoked, match="it expired before it could run") as revoked:
            expiring.result(timeout=LONG)
        task = revoked.value.task
        assert (task.attempts, task.started_at) == (0, None)
        assert task.expires_at is not None
        assert task.finished_at is not None
        assert task.finished_at >= task.expires_at
        assert kept.status().status == "PENDING"
        assert kept.cancel().when == "before"


def test_options_go_beside_an_array_as_beside_json(serve: Serve, tmp_path: Path) -> None:
    server = serve(
        write_model(tmp_path / "models", "plus-one", PLUS_ONE, PLUS_ONE_TOML)
    )  # nothing runs: not waited for
    at = datetime.now(timezone.utc) + timedelta(days=1)
    with cresset.Client(server.url) as client:
        for value in (np.arange(4, dtype=np.float32), [0, 1, 2, 3]):
            handle = client.submit(
                "plus-one", value, priority=3, metadata={"größe": 1}, eta=at, expires=2 * 24 * 3600, idempotency_key="k"
            )
            task = handle.status()
            assert (task.priority, task.metadata, task.eta) == (3, {"größe": 1}, at)
            assert task.expires_at is not None
            with pytest.raises(cresset.InvalidInput) as refused:
                client.submit("plus-one", [0, 1, 2, 3], countdown=60, expires=30)
            assert [error.field for error in refused.value.errors] == ["expires"]
        assert server.metric("cresset_tasks_total", model="plus-one", status="PENDING") == 1, "one key is one task"
        with pytest.raises(cresset.IdempotencyKeyReused):
            client.submit("plus-one", [0, 1, 2, 4], priority=3, metadata={"größe": 1}, idempotency_key="k")


def test_a_task_says_why_it_ran_again(held: Server, tmp_path: Path) -> None:
    gate = pipe(tmp_path, "gate")
    with cresset.Client(held.url) as client:
        handle = client.submit("held", str(gate))
        [pid] = held.instance_pids("held")
        with gate.open("w"):  # a process reads it now
            os.kill(pid, signal.SIGKILL)
        held.wait(lambda _: not Path(f"/proc/{pid}").exists(), "rid of the process")
        with running(gate):
            pass
        assert handle.result(timeout=LONG) == "done"
        task = handle.status()
    (again,) = task.history
    assert (again.attempt, task.retries) == (1, 0)
    assert task.attempts >= 2  # one more where it was offered to the process that had just gone
    assert task.created_at <= again.at
    assert "signal" in again.reason, again.reason
