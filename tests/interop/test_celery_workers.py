"""Workers that die, stop, are told what to do, and are watched: as Celery's own tools see it."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from support.application import RedisHouse, house, redis_or_skip
from support.server import LONG
from support.wait import until

pytestmark = [
    # Celery leaves sockets and results to the collector, which then says goodbye to a Redis that has gone.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_what_a_killed_worker_had_is_done_by_another(home: RedisHouse) -> None:
    first = home.worker("--celery-visibility-timeout", "1s")
    slow = home.app.send_task("proj.echo", ({"sleep": 0.5, "give": "slow"},))
    others = [home.app.send_task("proj.echo", (i,)) for i in range(5)]
    until(lambda: home.client.hlen("unacked") > 0, "taken")
    first.kill()
    home.worker("--celery-visibility-timeout", "1s")
    assert slow.get(timeout=LONG) == "slow"
    assert [result.get(timeout=LONG) for result in others] == list(range(5))
    until(lambda: home.client.llen(home.queue) == 0, "empty")


def test_a_task_may_take_longer_than_the_visibility_timeout(home: RedisHouse) -> None:
    home.worker("--celery-visibility-timeout", "1s")
    home.worker("--celery-visibility-timeout", "1s")
    slow = home.app.send_task("proj.echo", ({"sleep": 2.2, "give": 1},))
    assert slow.get(timeout=LONG) == 1
    computed = [worker.metric("cresset_batch_size_count", model="echo") for worker in home.workers]
    assert sum(computed) == 1, computed


def test_urgent_tasks_go_first(tmp_path: Path, home: RedisHouse) -> None:
    one = house(tmp_path / "one", home.redis, batch=1)
    with one.stack:
        sent = {
            priority: [one.app.send_task("proj.echo", (priority,), priority=priority) for _ in range(6)]
            for priority in (9, 3, 0)
        }
        one.worker()
        done = {p: [(r.get(timeout=LONG) and r.date_done) or r.date_done for r in rs] for p, rs in sent.items()}
        assert max(done[0]) <= min(done[9]), done
        assert min(done[3]) <= min(done[9]), done


def test_results_go_to_whoever_asked_with_rpc(tmp_path: Path, home: RedisHouse) -> None:
    rpc = house(tmp_path / "rpc", home.redis, backend="rpc://")
    with rpc.stack:
        rpc.worker(backend="rpc://")
        assert rpc.app.send_task("proj.echo", (1,)).get(timeout=LONG) == 1
        with pytest.raises(ValueError, match="boom"):
            rpc.app.send_task("proj.echo", ({"raise": "value"},)).get(timeout=LONG)


def test_a_broker_that_was_away_is_used_again(tmp_path: Path) -> None:
    server = redis_or_skip(tmp_path)
    try:
        made = house(tmp_path / "house", server)
        with made.stack:
            worker = made.worker()
            assert made.app.send_task("proj.echo", (1,)).get(timeout=LONG) == 1
            server.stop()
            worker.wait_log(lambda line: "broker cannot be used" in line, "that the broker has gone")
            until(lambda: httpx.get(f"{worker.url}/health/ready").status_code == 503, "not ready")
            assert "broker" in httpx.get(f"{worker.url}/health/ready").json()["broker"]
            server.start()
            worker.wait_log(lambda line: "broker is back" in line, "that the broker is back")
            until(lambda: httpx.get(f"{worker.url}/health/ready").status_code == 200, "ready again")
            began = time.monotonic()
            assert made.app.send_task("proj.echo", (2,)).get(timeout=LONG) == 2
            assert time.monotonic() - began < 10
    finally:
        server.stop()


def test_a_worker_says_what_is_missing(home: RedisHouse) -> None:
    from support.server import run_cli

    done = run_cli("worker", str(home.models), check=False)
    assert (done.returncode, "--celery" in done.stderr) == (64, True), done.stderr
    done = run_cli("worker", str(home.models), "--celery", "q", check=False)
    assert (done.returncode, "celery.broker" in done.stderr) == (65, True), done.stderr
    unknown = ["--celery", "q", "--broker", "redis://h", "--celery-tasks", "a.b=ecko"]
    done = run_cli("worker", str(home.models), *unknown, check=False)
    assert (done.returncode, "`ecko`" in done.stderr, "echo" in done.stderr) == (65, True, True), done.stderr
    done = run_cli("worker", str(home.models), "--celery", "q", "--broker", "sqs://:secret@h", check=False)
    assert "redis" in done.stderr and "secret" not in done.stderr
