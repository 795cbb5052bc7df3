"""Tasks that applications write into the store's database, within transactions of their own."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import Serve
from support.inbox import KINDS, Inbox, inbox_or_skip
from support.models import ECHO, PLUS_ONE, PLUS_ONE_TOML, write_model
from support.postgres import Database
from support.server import LONG, run_cli

#: Runs until a file is there.
GATED = """
import pathlib, time

def predict(batch):
    while not pathlib.Path(batch[0]["gate"]).exists():
        time.sleep(0.01)
    return batch
"""


@pytest.fixture(params=KINDS)
def inbox(request: pytest.FixtureRequest) -> Iterator[Inbox]:
    """The inbox of one test, in each kind of database."""
    made = inbox_or_skip(request.param)
    try:
        yield made
    finally:
        made.drop()


def ended(client: httpx.Client, task: str) -> dict[str, object]:
    """A task at its end."""
    answer = client.get(f"/v1/tasks/{task}", params={"wait": "60s"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_row_becomes_a_task_if_and_only_if_its_transaction_commits(
    serve: Serve, tmp_path: Path, inbox: Inbox
) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", inbox.url).wait_ready()
    with server.http() as client:
        lost = inbox.write("echo", 1, "ROLLBACK")
        kept = inbox.write("echo", {"a": [1, 2]}, priority="7", metadata="'{\"order\": 3}'")
        task = ended(client, kept)
        assert (task["status"], task["result"], task["priority"]) == ("SUCCESS", {"a": [1, 2]}, 7), task
        assert task["metadata"] == {"order": 3}
        assert client.get(f"/v1/tasks/{lost}").status_code == 404
        # An id that the database made sorts by its time, as the server's do.
        inbox.sql("INSERT INTO inbox (model, input) VALUES ('echo', '[ 1.50 ]')")
        server.wait(lambda _: inbox.count("tasks") == 2 and inbox.count() == 0, "taken")
        (made,) = {uuid.UUID(hex=task) for task in inbox.task_ids()} - {uuid.UUID(kept)}
        assert made.version == 7
        assert ended(client, str(made))["result"] == [1.5]
        assert client.get(f"/v1/tasks/{lost}").status_code == 404


def test_a_function_of_postgresql_writes_a_row_and_gives_its_id(
    serve: Serve, tmp_path: Path, database: Database
) -> None:
    server = serve(write_model(tmp_path / "models", "echo", ECHO), "--store", database.url).wait_ready()
    given = str(uuid.uuid4())
    more = f"priority => 7, metadata => '{{\"order\": 3}}', id => '{given}'"
    with server.http() as client:
        assert database.sql(f"SELECT enqueue('echo', '[1, 2]', {more})") == given
        task = ended(client, given)
        assert (task["result"], task["priority"], task["metadata"]) == ([1, 2], 7, {"order": 3}), task
        made = database.sql("SELECT enqueue('echo', '2')")
        assert uuid.UUID(made).version == 7
        assert ended(client, made)["result"] == 2


def test_what_is_written_while_no_server_runs_waits_for_one(serve: Serve, tmp_path: Path, inbox: Inbox) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", inbox.url).wait_ready()
    assert server.stop() == 0
    ids = dict(zip(inbox.write_many([("echo", number) for number in range(300)]), range(300), strict=True))
    report = run_cli("doctor", str(models), "--store", inbox.url, "--json", "--listen", "127.0.0.1:0", check=False)
    assert "300 tasks wait" in report.stdout, report.stdout
    checked = json.loads(run_cli("store", "check", "--store", inbox.url, "--json").stdout)
    assert (checked["inbox"]["rows"], checked["inbox"]["refused"]) == (300, 0), checked
    assert checked["inbox"]["oldest"].endswith("Z"), checked
    again = serve(models, "--store", inbox.url).wait_ready()
    with again.http() as client:
        for task, number in ids.items():
            assert ended(client, task)["result"] == number


def test_a_server_that_is_killed_again_and_again_makes_each_task_once(
    serve: Serve, tmp_path: Path, inbox: Inbox
) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", inbox.url).wait_ready()
    stop = threading.Event()

    def write(worker: int) -> list[str]:
        ids: list[str] = []
        while not stop.is_set():
            ids += inbox.write_many([("echo", [worker, 1])] * 40)
        return ids

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, number) for number in range(3)]
        for _ in range(4):
            before = inbox.count("tasks")
            server.wait(lambda _, n=before: inbox.count("tasks") > n + 100, "at work")
            server.kill()
            server = serve(models, "--store", inbox.url)
            assert server.url
        stop.set()
        written = [task for writer in writers for task in writer.result(LONG)]
    server.wait(lambda _: inbox.count() == 0, "done with the inbox")
    server.wait(lambda _: inbox.count("tasks WHERE state <> 3") == 0, "done with the tasks")
    assert inbox.count("tasks") == len(written) == len(set(written))
    assert inbox.task_ids() == {task.replace("-", "") for task in written}


def test_a_row_that_waits_is_a_task_to_whoever_asks_and_a_full_model_holds_up_no_other(
    serve: Serve, tmp_path: Path, inbox: Inbox
) -> None:
    gate = tmp_path / "gate"
    limits = "[limits]\nmax_queue = 1\n[batching]\nmax_batch_size = 1\n"
    write_model(tmp_path / "models", "gated", GATED, limits)
    write_model(tmp_path / "models", "echo", ECHO)
    server = serve(tmp_path / "models", "--store", inbox.url).wait_ready()
    with server.http() as client:
        value = {"gate": str(gate)}
        ids = [inbox.write("gated", {**value, "n": number}) for number in range(8)]
        assert ended(client, inbox.write("echo", "through"))["result"] == "through"
        server.wait(lambda _: 0 < inbox.count() < 8, "full")
        waiting = client.get(f"/v1/tasks/{ids[-1]}").json()
        assert (waiting["status"], waiting["model"], waiting["attempts"]) == ("PENDING", "gated", 0), waiting
        server.wait(lambda http: "cresset_inbox_rows 0" not in http.get("/metrics").text, "counted")

        revoked = client.post(f"/v1/tasks/{ids[-2]}/cancel")
        assert (revoked.status_code, revoked.json()["status"]) == (200, "REVOKED"), revoked.text
        assert client.get(f"/v1/tasks/{ids[-2]}").json()["status"] == "REVOKED"

        with ThreadPoolExecutor(1) as pool, server.http() as other:
            poll = pool.submit(ended, other, ids[-1])
            gate.touch()
            assert poll.result(LONG)["status"] == "SUCCESS"
        done = [ended(client, task) for task in (*ids[:-2], ids[-1])]
        assert [task["result"]["n"] for task in done] == [0, 1, 2, 3, 4, 5, 7]  # pyright: ignore[reportIndexIssue]
        starts = [str(task["started_at"]) for task in done]
        assert starts == sorted(starts), "in the order in which they were written"


def test_what_a_submit_would_be_refused_for_is_a_task_that_has_failed(
    serve: Serve, tmp_path: Path, inbox: Inbox
) -> None:
    write_model(tmp_path / "models", "plus", PLUS_ONE, PLUS_ONE_TOML)
    flags = ("--store", inbox.url, "--max-body-bytes", "4KiB")
    server = serve(tmp_path / "models", *flags).wait_ready()
    rows = {
        "unknown_model": inbox.write("plsu", [1]),
        "invalid_input": inbox.write("plus", [1, 2]),
        "body_too_large": inbox.write("plus", [1] * 4_000),
    }
    never = inbox.write("plus", [1, 2, 3, 4], eta=inbox.from_now(2), expires=inbox.from_now(1))
    bad_retry = inbox.write("plus", [1, 2, 3, 4], retry="""'{"max_retreis": 1}'""")
    good = inbox.write("plus", [1, 2, 3, 4])
    with server.http() as client:
        for code, task in rows.items():
            end = ended(client, task)
            assert (end["status"], end["error"]["code"]) == ("FAILURE", code), end  # pyright: ignore[reportIndexIssue]
            assert end["attempts"] == 0
        assert "it would never run" in str(ended(client, never)["error"])
        assert "max_retries" in str(ended(client, bad_retry)["error"])
        assert ended(client, good)["result"] == [2, 3, 4, 5]
        metrics = client.get("/metrics").text
        assert 'cresset_inbox_taken_total{outcome="failed"} 5' in metrics, metrics
        # What has failed is not there to be taken again.
        assert inbox.count() == 0
        # Another one's id changes nothing of that one, and is told to people.
        inbox.sql(f"INSERT INTO inbox (id, model, input) VALUES ('{good}', 'plus', '[0, 0, 0, 0]')")
        server.wait_log(lambda line: "cannot be tasks" in line, "that a row was refused")
        assert ended(client, good)["result"] == [2, 3, 4, 5]
        assert "is taken" in inbox.sql("SELECT error FROM inbox")


def test_an_input_as_bytes_is_read_as_a_body_of_that_type_is(serve: Serve, tmp_path: Path, inbox: Inbox) -> None:
    write_model(tmp_path / "models", "plus", PLUS_ONE, PLUS_ONE_TOML)
    server = serve(tmp_path / "models", "--store", inbox.url).wait_ready()
    floats = inbox.bytes(bytes.fromhex("0000803f000000400000404000008040"))

    def write(content_type: str) -> str:
        task = str(uuid.uuid4())
        values = f"'{task}', 'plus', {floats}, '{content_type}'"
        inbox.sql(f"INSERT INTO inbox (id, model, body, content_type) VALUES ({values})")
        return task

    with server.http() as client:
        good = write("application/octet-stream")
        assert ended(client, good)["result"] == [2, 3, 4, 5]
        bad = write("image/png")
        assert ended(client, bad)["error"]["code"] == "unsupported_media_type"  # pyright: ignore[reportIndexIssue]


def test_a_role_needs_no_more_than_to_insert(serve: Serve, tmp_path: Path, inbox: Inbox) -> None:
    server = serve(write_model(tmp_path / "models", "echo", ECHO), "--store", inbox.url).wait_ready()
    task = str(uuid.uuid4())
    inbox.as_application(f"INSERT INTO inbox (id, model, input) VALUES ('{task}', 'echo', '1')")
    with server.http() as client:
        assert ended(client, task)["result"] == 1
    for sql in ("SELECT 1 FROM inbox", "DELETE FROM inbox", "SELECT 1 FROM tasks"):
        with pytest.raises(RuntimeError, match="denied"):
            inbox.as_application(sql)


def test_where_keys_are_needed_the_server_says_whose_such_tasks_are(serve: Serve, tmp_path: Path, inbox: Inbox) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    data = ("--data-dir", str(tmp_path / "data"))
    made = {
        tenant: run_cli("keys", "create", "--name", tenant, "--tenant", tenant, "--scope", "read", *data).stdout.strip()
        for tenant in ("shop", "other")
    }
    server = serve(models, "--store", inbox.url, "--auth", "--inbox-tenant", "shop").wait_ready()
    task = inbox.write("echo", 1)
    with httpx.Client(base_url=server.url, timeout=LONG) as client:

        def ask(tenant: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {made[tenant]}"}
            return client.get(f"/v1/tasks/{task}", params={"wait": "60s"}, headers=headers)

        assert ask("shop").json()["status"] == "SUCCESS"
        assert ask("other").status_code == 404


def test_without_an_inbox_rows_stay_where_they_are(serve: Serve, tmp_path: Path, inbox: Inbox) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", inbox.url, "--inbox=false").wait_ready()
    task = inbox.write("echo", 1)
    with server.http() as client:
        accepted = client.post("/v1/models/echo/tasks", json={"input": 2})
        assert ended(client, accepted.json()["task_id"])["result"] == 2
        assert client.get(f"/v1/tasks/{task}").status_code == 404
    assert inbox.count() == 1
