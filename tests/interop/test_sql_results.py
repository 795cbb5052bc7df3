"""Results in SQL: what real Celery, new and old, and a Django project with django-celery-results read of Cresset."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.application import Redis, RedisHouse, house
from support.server import LONG
from support.sql import Project, Sql, sql
from support.wait import until

REPO = Path(__file__).resolve().parents[2]

SEEN: dict[str, Any] = {
    "same": True,
    "state": "SUCCESS",
    "recent": True,
    "raised": "ValueError('boom')",
    "failed": "FAILURE",
    "traceback": True,
    "own": "OwnError",
    "late": "TaskRevokedError('expired')",
    "pending": "PENDING",
    "group": [0, 1, 2, 3, 4],
}
"""By every application, whatever stores its results."""
DJANGO = "import django; django.setup()\n"
CHORDS = {"chord": [0, 1, 2], "chained": ["x", 5]}


@pytest.fixture(params=["postgresql", "mysql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Sql, None, None]:
    """A database of each kind."""
    with sql(request.param, tmp_path) as made:
        yield made


def old_celery() -> str:
    """The interpreter of an environment with a Celery from before 5.7, which pickles results."""
    words = [sys.executable, str(REPO / "scripts" / "dev_env.py"), "celery5.4"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def real_worker(project: Project) -> Generator[None, None, None]:
    """A worker of the application's own, for its default queue."""
    words = ["-W", "ignore", "-m", "celery", "-A", "proj", "worker", "--pool", "solo", "--loglevel", "warning"]
    command = [project.python, *words]
    process = subprocess.Popen(command, cwd=project.folder, env=project.environ(), stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(LONG)


@pytest.mark.parametrize("version", ["newest", "5.4"])
def test_celerys_own_tables(tmp_path: Path, the_redis: Redis, database: Sql, version: str) -> None:
    backend = f"db+{database.url}"
    made = house(tmp_path / "house", the_redis, backend=backend)
    with made.stack:
        python = sys.executable if version == "newest" else old_celery()
        words = {"broker": made.broker, "backend": backend, "queue": made.queue, "extended": True}
        project = Project(tmp_path / "project", python, **words)
        worker = made.worker("--celery-result-extended", "--celery-default-queue", f"{made.queue}-site")
        with real_worker(project):
            said = project.ask(chords=True)
    wanted = SEEN | CHORDS | {"name": "proj.echo", "worker": made.node}
    # The column that names them came with 5.7.
    wanted["children"] = ["l"] if version == "newest" else []
    assert "ValueError('boom')" in said.pop("broken")
    assert said == wanted
    assert "never-shown" not in worker.log


def test_a_chord_that_nobody_watches_fails_in_words(tmp_path: Path, the_redis: Redis) -> None:
    with sql("sqlite", tmp_path) as database:
        backend = f"db+{database.url}"
        made = house(tmp_path / "house", the_redis, backend=backend)
        with made.stack:
            made.worker("--celery-default-queue", made.queue)
            words = {"broker": made.broker, "backend": backend, "queue": made.queue, "extended": False}
            project = Project(tmp_path / "project", sys.executable, **words)
            ask = (
                "from proj import app; from celery import chord, signature as s\n"
                "echo = lambda *a: s('proj.echo', a, app=app)\n"
                f"print(repr(chord([echo(1)], app=app)(echo()).get(timeout={LONG}, propagate=False)))"
            )
            assert "celery.chord_unlock is not done here" in project.run("-c", ask)


def test_the_tables_of_django_celery_results(tmp_path: Path, the_redis: Redis, database: Sql) -> None:
    backend = f"django-db+{database.url}"
    made = house(tmp_path / "house", the_redis)
    with made.stack:
        words = {"broker": made.broker, "backend": "django-db", "queue": made.queue, "extended": True}
        project = Project(tmp_path / "project", sys.executable, database=database.django, **words)
        worker = made.worker("--celery-result-extended", "--celery-track-started", backend=backend)
        said = project.ask(chords=True)
        listed = project.run(
            "-c",
            f"{DJANGO}"
            "from django_celery_results.models import ChordCounter, TaskResult as T\n"
            "from django.utils import timezone\n"
            "assert ChordCounter.objects.count() == 0, list(ChordCounter.objects.values())\n"
            "assert T.objects.filter(status='FAILURE', traceback__contains='boom').exists()\n"
            "one = T.objects.filter(status='SUCCESS', date_started__isnull=False).first()\n"
            "assert one.date_created <= one.date_started <= one.date_done <= timezone.now(), vars(one)\n"
            "print(one.task_name, one.worker, one.content_type, one.content_encoding, one.periodic_task_name)",
        )
    assert "ValueError('boom')" in said.pop("broken")
    assert said == SEEN | CHORDS | {"children": ["l"], "name": None, "worker": made.node}
    assert listed.split() == ["proj.echo", made.node, "application/json", "utf-8", "None"]
    assert "never-shown" not in worker.log


def test_a_table_that_is_missing_is_told_and_waited_for(tmp_path: Path, the_redis: Redis) -> None:
    with sql("postgresql", tmp_path) as database:
        made = house(tmp_path / "house", the_redis)
        with made.stack:
            words = {"broker": made.broker, "backend": "django-db", "queue": made.queue, "extended": False}
            worker = made.worker(backend=f"django-db+{database.url}")
            sent = made.app.send_task("proj.echo", (7,))
            until(lambda: "manage.py migrate" in worker.log, "told")
            project = Project(tmp_path / "project", sys.executable, database=database.django, **words)
            ask = f"{DJANGO}from proj import app; print(app.AsyncResult('{sent.id}').get(timeout={LONG}))"
            assert project.run("-c", ask).strip() == "7"


def test_a_database_that_goes_is_waited_for(tmp_path: Path, the_redis: Redis) -> None:
    with sql("postgresql", tmp_path) as database:
        backend = f"db+{database.url}"
        made = house(tmp_path / "house", the_redis, backend=backend)
        with made.stack:
            worker = made.worker()
            assert made.app.send_task("proj.echo", (1,)).get(timeout=LONG) == 1
            assert database.postgres is not None
            database.postgres.close()
            sent = [made.app.send_task("proj.echo", (i,)) for i in range(20)]
            until(lambda: "store a result" in worker.log, "told")
            database.postgres.open()
            assert [result.get(timeout=LONG) for result in sent] == list(range(20))
            until(lambda: made.left() == 0, "acknowledged")
            # With its connections open.
            assert worker.stop() == 0


def test_what_a_killed_worker_had_is_done_once_more_and_a_success_is_kept(tmp_path: Path, the_redis: Redis) -> None:
    with sql("sqlite", tmp_path) as database:
        made = house(tmp_path / "house", the_redis)
        with made.stack:
            words = {"broker": made.broker, "backend": "django-db", "queue": made.queue, "extended": False}
            project = Project(tmp_path / "project", sys.executable, database=database.django, **words)
            flags = {"backend": f"django-db+{database.url}"}
            worker = made.worker("--celery-visibility-timeout", "1s", **flags)
            made.app.send_task("proj.echo", ({"sleep": 0.7, "give": "slow"},), task_id="slow")
            made.app.send_task("proj.echo", (1,), task_id="quick")
            until(lambda: held(made) > 0, "taken")
            worker.kill()
            made.worker("--celery-visibility-timeout", "1s", **flags)
            until(lambda: made.waiting() == 0 and held(made) == 0, "acknowledged")
            # The same id once more, as a sender may that has heard nothing: what is stored stays.
            made.app.send_task("proj.echo", ({"raise": "value"},), task_id="quick")
            until(lambda: made.workers[1].metric("cresset_celery_tasks_total", status="FAILURE") == 1, "ended")
            ask = f"from proj import app\nprint([app.AsyncResult(i).get(timeout={LONG}) for i in ('slow', 'quick')])"
            said = project.run("-c", DJANGO + ask)
            assert said.strip() == "['slow', 1]"


def held(made: RedisHouse) -> int:
    """How many messages of this application's workers have."""
    return sum(f'"{made.queue}"]'.encode() in record for record in made.client.hvals("unacked"))


def test_a_result_that_does_not_fit_fails_its_task(tmp_path: Path, the_redis: Redis) -> None:
    with sql("mysql", tmp_path) as database:
        backend = f"db+{database.url}"
        made = house(tmp_path / "house", the_redis, backend=backend)
        with made.stack:
            made.worker()
            with pytest.raises(RuntimeError, match="cannot be stored: Data too long for column 'result'"):
                made.app.send_task("proj.echo", ("x" * 70_000,)).get(timeout=LONG)
            long = made.app.send_task("proj.echo", (1,), task_id="i" * 200)
            assert made.app.send_task("proj.echo", (2,)).get(timeout=LONG) == 2
            until(lambda: made.left() == 0, "acknowledged")
            assert long.status == "PENDING"
