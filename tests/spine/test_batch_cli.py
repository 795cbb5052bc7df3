"""`cresset batch` at the real program: files of tasks go in and come out by the command line, and nothing is held."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import Serve
from support.models import ECHO, write_model
from support.server import LONG, Server, program, run_cli

ECHO_TOML = "[limits]\nmax_queue = 2000\n[batching]\nmax_batch_size = 256\n"
#: Waits until the file that it is told of is there.
GATED = """
import pathlib, time

def predict(batch):
    for path in batch:
        while not pathlib.Path(path).exists():
            time.sleep(0.01)
    return batch
"""


@pytest.fixture
def echo(serve: Serve, tmp_path: Path) -> Server:
    return serve(write_model(tmp_path / "models", "echo", ECHO, ECHO_TOML)).wait_ready()


def written(path: Path, *inputs: Any) -> Path:
    path.write_text("".join(json.dumps({"input": one}) + "\n" for one in inputs))
    return path


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_file_goes_in_and_its_results_come_out_in_order(echo: Server, tmp_path: Path) -> None:
    url = ("--url", echo.url)
    file = written(tmp_path / "lines.jsonl", *range(500))
    with file.open("a") as more:
        more.write('{"input": 1, "prioritty": 2}\n{"input": 1.50}')
    out = tmp_path / "results.jsonl"
    out.touch()  # as a run leaves it that was killed while it waited
    ended = run_cli(
        *("batch", "submit", "echo", str(file), "--wait", "--output", str(out), "--metadata", '{"näht": 7}', *url),
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr  # a line is wrong
    assert "502 lines accepted" in ended.stderr and "501 success, 1 invalid" in ended.stderr
    results = lines(out.read_text())
    assert [line["index"] for line in results] == list(range(502))
    assert [line.get("result") for line in results[:500]] == list(range(500))
    assert results[500]["status"] == "INVALID" and "prioritty" in results[500]["error"]["message"]
    assert '"result":1.5' in out.read_text().splitlines()[-1]

    [batch] = lines(run_cli("batch", "list", "--json", *url).stdout)
    assert batch["metadata"] == {"näht": 7}
    shown = run_cli("batch", "status", batch["batch_id"], *url).stdout
    assert "completed" in shown and "501 success, 1 invalid" in shown
    again = run_cli("batch", "results", batch["batch_id"], "--from", "501", *url)
    assert lines(again.stdout) == results[501:]
    there = run_cli("batch", "results", batch["batch_id"], "--output", str(out), *url, check=False)
    assert there.returncode == 73 and "is there already" in there.stderr


def test_stdin_the_same_key_again_and_errors_that_say_what_to_do(echo: Server, tmp_path: Path) -> None:
    url = ("--url", echo.url)
    file = written(tmp_path / "lines.jsonl", "a", "b")
    piped = run_cli("batch", "submit", "echo", "-", "--wait", *url, stdin=file.read_text())
    assert [line["result"] for line in lines(piped.stdout)] == ["a", "b"]
    first, second = (
        run_cli("batch", "submit", "echo", str(file), "--idempotency-key", "night-7", *url).stdout for _ in range(2)
    )
    assert first == second and len(first.strip()) == 36
    written(file, "a", "b", "c")
    for words, status, said in [
        (("submit", "echo", str(file), "--idempotency-key", "night-7"), 65, "the batch"),
        (("submit", "ecko", str(file)), 66, "echo"),
        (("submit", "echo", str(tmp_path)), 74, "is a directory"),
        (("submit", "echo", str(tmp_path / "gone")), 66, "check the path"),
        (("submit", "echo", str(file), "--idempotency-key", "two words"), 64, "without blanks"),
        (("submit", "echo", str(file), "--output", "x"), 64, "--wait"),
        (("status", "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10"), 66, "no batch"),
        (("results", "nonsense"), 64, "a batch's id is a UUID"),
    ]:
        ended = run_cli("batch", *words, *url, check=False)
        assert (ended.returncode, ended.stdout) == (status, ""), (words, ended.stderr)
        assert said in ended.stderr, (words, ended.stderr)


def test_a_batch_is_cancelled_and_read_before_its_end(serve: Serve, tmp_path: Path) -> None:
    server = serve(write_model(tmp_path / "models", "gated", GATED, "[batching]\nmax_batch_size = 1\n")).wait_ready()
    url = ("--url", server.url)
    gate = tmp_path / "gate"
    file = written(tmp_path / "lines.jsonl", *[str(gate)] * 5)
    batch = run_cli("batch", "submit", "gated", str(file), *url).stdout.strip()
    late = run_cli("batch", "status", batch, "--wait=50ms", *url, check=False)
    assert late.returncode == 124 and f"cresset batch results {batch} --wait" in late.stderr
    early = run_cli("batch", "results", batch, *url, check=False)
    assert early.returncode == 75 and "5 lines have not ended yet" in early.stderr
    assert len(lines(early.stdout)) == 5
    cancelled = run_cli("batch", "cancel", batch, *url)
    assert cancelled.stdout.startswith("cancel")
    gate.touch()
    shown = run_cli("batch", "status", batch, "--wait", "--json", *url)
    document = json.loads(shown.stdout)
    assert document["status"] == "cancelled" and document["counts"]["revoked"] > 0
    done = run_cli("batch", "submit", "gated", str(file), "--wait", *url)
    assert len(lines(done.stdout)) == 5
    [last, _] = lines(run_cli("batch", "list", "--json", *url).stdout)
    assert run_cli("batch", "cancel", last["batch_id"], *url, check=False).returncode == 1


def resident_max_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def test_a_large_file_is_never_in_memory_and_survives_the_death_of_the_server(serve: Serve, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO, ECHO_TOML)
    server = serve(models, "--listen", "127.0.0.1:0").wait_ready()
    address = server.url.removeprefix("http://")
    count, padding = 30_000, "x" * 2_000
    file = tmp_path / "lines.jsonl"
    with file.open("w") as out:
        for number in range(count):
            out.write(json.dumps({"input": [number, padding]}) + "\n")
    assert file.stat().st_size > 60_000_000
    results = tmp_path / "results.jsonl"
    words = ["batch", "submit", "echo", str(file), "--wait", "--output", str(results), "--url", server.url]
    child = subprocess.Popen([program(), *words], stderr=subprocess.PIPE, text=True)
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        with contextlib.suppress(OSError, IndexError):  # it has ended
            while not done.wait(0.02):
                most = max(most, resident_max_kib(child.pid))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        server.wait(lambda http: any(b["accepted"] > 0 for b in http.get("/v1/batches").json()["batches"]), "at it")
        server.kill()
        serve(models, "--listen", address).wait_ready()
        _, said = child.communicate(timeout=LONG * 3)
    finally:
        done.set()
        watching.join()
        child.kill()
    assert child.returncode == 0, said
    with results.open() as read:
        numbers = [json.loads(line)["result"][0] for line in read]
    assert numbers == list(range(count))
    print(f"the command held {most} KiB at most")
    assert 0 < most < 48 * 1024


def test_no_server_is_told_so_at_once(tmp_path: Path) -> None:
    file = written(tmp_path / "lines.jsonl", 1)
    out = tmp_path / "results.jsonl"
    words = ("batch", "submit", "echo", str(file), "--wait", "--output", str(out))
    closed = run_cli(*words, "--url", "http://127.0.0.1:1", check=False)
    assert closed.returncode == 69 and "nothing answers at http://127.0.0.1:1" in closed.stderr
    assert not out.exists(), "it would be in the way of the next try"
