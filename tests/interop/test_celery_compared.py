"""`make celery` in a small form: it runs through on each broker and leaves nothing there. Its figures say nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.programs import needed
from support.rabbit import Rabbit, control, rabbit_or_skip
from support.server import LONG, REPOSITORY, program

COMPARE = REPOSITORY / "examples" / "celery" / "compare.py"
SHORT = ["--rounds", "1", "--tasks", "300", "--calls", "8", "--callers", "1", "2"]
UNAVAILABLE = 69


def compared(*words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the command; `path` is looked at before the usual one."""
    environ = {name: value for name, value in os.environ.items() if name != "CRESSET_BIN"}
    environ["PATH"] = os.pathsep.join(filter(None, (path, environ["PATH"])))
    command = [sys.executable, str(COMPARE), "--cresset", str(program()), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=4 * LONG, check=False, env=environ)


def figures(folder: Path, *words: str, path: str = "") -> Any:
    """What it measured. A debug build on a busy machine need not reach the bars."""
    file = folder / "figures.json"
    done = compared(*SHORT, "--json", str(file), *words, path=path)
    assert done.returncode in (0, 1), done.stderr
    assert file.exists(), done.stderr
    told = json.loads(file.read_text())
    assert (done.returncode == 0) == (not told["missed"]), done.stdout
    (both,) = told["rounds"]
    assert f"{both['ratio']:.1f}" in done.stdout
    for worker in ("celery", "cresset"):
        assert both[worker]["drained_a_second"] > 0
        for load in ("1", "2"):
            took = both[worker]["callers"][load]
            assert 0 < took["p50_ms"] <= took["p99_ms"]
            assert f"{took['p50_ms']:.2f} / {took['p99_ms']:.2f} ms" in done.stdout
    assert told["difference"] < 1e-4
    return told


@pytest.fixture
def rabbit() -> Iterator[Rabbit]:
    """A virtual host, as one that a user has."""
    made = rabbit_or_skip()
    try:
        yield made
    finally:
        made.drop()


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_both_workers_are_measured_on_each_broker(tmp_path: Path, broker: str, request: pytest.FixtureRequest) -> None:
    needed("redis-server")
    if broker == "redis":
        told = figures(tmp_path, "--broker", broker)
        assert (told["broker"], told["results"]) == ("Redis", "results on Redis")
        return
    rabbit: Rabbit = request.getfixturevalue("rabbit")
    told = figures(tmp_path, "--broker", rabbit.url, "--results", "redis")
    host = told["broker"].removeprefix("RabbitMQ, the virtual host ")
    assert host.startswith("cresset-compare-")
    assert told["results"] == "results on Redis"
    assert not rabbit.depths()
    assert host not in control("list_vhosts", "--no-table-headers").split()


def test_on_rabbitmq_whose_virtual_hosts_are_not_ours_to_make(tmp_path: Path, rabbit: Rabbit) -> None:
    refuses = tmp_path / "bin" / "rabbitmqctl"
    refuses.parent.mkdir()
    refuses.write_text("#!/bin/sh\nexit 1\n")
    refuses.chmod(0o755)
    told = figures(tmp_path, "--broker", rabbit.url, path=str(refuses.parent))
    assert "the queue cresset-compare-" in told["broker"]
    assert told["results"] == "results by rpc://"
    assert not [name for name in rabbit.depths() if not name.endswith("pidbox")]
    exchanges = control("list_exchanges", "-p", rabbit.vhost, "--no-table-headers", "name").split()
    assert not [name for name in exchanges if name.startswith("cresset")]


@pytest.mark.parametrize(
    ("broker", "status", "says"),
    [
        ("amqp://guest:secret@127.0.0.1:1//", UNAVAILABLE, "RabbitMQ cannot be used at amqp://guest:**@127.0.0.1:1//"),
        ("sqs://", 2, "--broker is redis"),
        ("redis://127.0.0.1", 2, "--broker is redis"),
    ],
)
def test_a_broker_that_is_not_there_is_a_sentence_and_a_status(broker: str, status: int, says: str) -> None:
    done = compared("--broker", broker)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_a_program_that_is_not_built_is_a_sentence_and_a_status(tmp_path: Path) -> None:
    done = compared("--cresset", str(tmp_path / "cresset"))
    assert (done.returncode, "there is no" in done.stderr) == (UNAVAILABLE, True), done.stderr
