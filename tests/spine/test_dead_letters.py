"""Promise 5: an input that takes its process down is found, kept, and can be run again once the model is mended."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import cresset
import pytest
from conftest import Serve
from support.models import write_model
from support.server import LONG, Server, program

#: Dies of an input as it says, until there is a file `mended` in its folder.
FRAGILE = """
import os
import signal
import sys
import time
from pathlib import Path

def predict(batch):
    for item in batch:
        if Path("mended").exists() or not isinstance(item, dict):
            continue
        print("about to", item["do"], flush=True)
        if item["do"] == "exit":
            os._exit(3)
        if item["do"] == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if item["do"] == "hang":
            time.sleep(3600)
    return batch
"""

QUICK = """
[limits]
timeout = "2s"
max_attempts = 2

[batching]
max_batch_size = 32
"""


def dead(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs `cresset dead ...` against the server."""
    return subprocess.run(
        [str(program()), "dead", *words, "--url", server.url],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("CRESSET_")},
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that succeeded printed."""
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def fragile(serve: Serve, tmp_path: Path) -> Server:
    """A server with the fragile model, that shows what processes print."""
    model = write_model(tmp_path / "models", "fragile", FRAGILE, QUICK)
    return serve(model, "--show-tracebacks").wait_ready()


def folder(server: Server) -> Path:
    """Where the model is."""
    return server.data_dir.parent / "models" / "fragile"


@pytest.mark.parametrize(
    ("do", "cause", "words"),
    [("exit", "exit", "status 3"), ("crash", "signal", "signal 11"), ("hang", "hung", "2s and was killed")],
)
def test_promise_5_one_input_of_a_batch_kills_and_is_kept_while_the_rest_succeeds(
    fragile: Server, do: str, cause: str, words: str
) -> None:
    with cresset.Client(fragile.url) as client:
        inputs: list[Any] = [*range(31)]
        inputs.insert(17, {"do": do})
        handles = [client.submit("fragile", value, metadata={"n": n}) for n, value in enumerate(inputs)]
        ends = [handle.wait(LONG) for handle in handles]
        assert [end.status for end in ends] == ["SUCCESS"] * 17 + ["FAILURE"] + ["SUCCESS"] * 14
        [letter] = client.dead.list()
        assert (letter.id, letter.model, letter.cause) == (handles[17].id, "fragile", cause)
        assert words in letter.reason
        assert letter.metadata == {"n": 17}
        assert letter.log is not None
        assert f"about to {do}" in "\n".join(letter.log)
        assert letter.resident_bytes is not None
        assert letter.resident_bytes > 1 << 20
        assert client.dead.input(letter.id) == {"do": do}
    assert fragile.metric("cresset_dead_letters_total", model="fragile") == 1


def test_promise_5_a_letter_is_replayed_once_the_model_is_mended(fragile: Server) -> None:
    with cresset.Client(fragile.url) as client:
        first = client.submit("fragile", {"do": "exit"}, priority=9)
        with pytest.raises(cresset.TaskFailed):
            first.result(LONG)
        (folder(fragile) / "mended").touch()
        replay = client.dead.replay(first.id)
        assert replay.id != first.id
        assert client.dead.replay(first.id).id == replay.id
        assert replay.result(LONG) == {"do": "exit"}
        assert client.dead.get(first.id).replayed_as == replay.id
        assert first.status().status == "FAILURE"


def test_promise_5_letters_outlive_a_kill_of_the_server(serve: Serve, tmp_path: Path) -> None:
    model = write_model(tmp_path / "models", "fragile", FRAGILE, QUICK)
    server = serve(model).wait_ready()
    with cresset.Client(server.url) as client:
        task = client.submit("fragile", {"do": "exit"})
        with pytest.raises(cresset.TaskFailed):
            task.result(LONG)
    server.process.kill()
    server.process.wait(LONG)
    (model / "mended").touch()
    again = serve(model).wait_ready()
    with cresset.Client(again.url) as client:
        assert [letter.id for letter in client.dead.list()] == [task.id]
        assert client.dead.replay(task.id).result(LONG) == {"do": "exit"}


def test_the_command_line_lists_shows_replays_and_purges(fragile: Server) -> None:
    assert dead(fragile, "list").stderr == "no dead letters\n"
    with cresset.Client(fragile.url) as client:
        tasks = [client.submit("fragile", {"do": "exit", "n": n}) for n in range(2)]
        assert [task.wait(LONG).status for task in tasks] == ["FAILURE"] * 2
    ids = {task.id for task in tasks}
    head, *rows = said(dead(fragile, "list")).splitlines()
    assert head.split() == ["ID", "DIED", "MODEL", "TRIED", "REPLAYED", "REASON"]
    assert {row.split()[0] for row in rows} == ids
    assert {json.loads(line)["task_id"] for line in said(dead(fragile, "list", "--json")).splitlines()} == ids
    one, other = tasks
    shown = said(dead(fragile, "show", one.id))
    assert "exited with status 3" in shown
    assert "about to exit" in shown
    assert json.loads(said(dead(fragile, "show", one.id, "--input"))) == {"do": "exit", "n": 0}
    (folder(fragile) / "mended").touch()
    replayed = said(dead(fragile, "replay", one.id)).strip()
    assert said(dead(fragile, "replay", one.id)).strip() == replayed
    with cresset.Client(fragile.url) as client:
        assert client.task(replayed).result(LONG) == {"do": "exit", "n": 0}
    assert said(dead(fragile, "purge", other.id)) == "1\n"
    assert said(dead(fragile, "purge", "--model", "fragile", "--before", "1d")) == "0\n"
    assert said(dead(fragile, "purge", "--all")) == "1\n"
    gone = dead(fragile, "show", one.id)
    assert gone.returncode == 66
    assert "no dead letter has the id" in gone.stderr
