"""Tasks that applications write into the store's database, within transactions of their own."""

from __future__ import annotations

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import Serve
from support.models import ECHO, PLUS_ONE, PLUS_ONE_TOML, write_model
from support.postgres import Database, psql
from support.server import LONG, run_cli

#: Runs until a file is there.
GATED = """
import pathlib, time

def predict(batch):
    while not pathlib.Path(batch[0]["gate"]).exists():
        time.sleep(0.01)
    return batch
"""


def enqueue(database: Database, model: str, value: object, more: str = "") -> str:
    """The id of a task that was written down, in a transaction of its own."""
    return database.sql(f"SELECT enqueue('{model}', '{json.dumps(value)}'{more})")


def ended(client: httpx.Client, task: str) -> dict[str, object]:
    """A task at its end."""
    answer = client.get(f"/v1/tasks/{task}", params={"wait": "60s"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_row_becomes_a_task_if_and_only_if_its_transaction_commits(
    serve: Serve, tmp_path: Path, database: Database
) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", database.url).wait_ready()
    with server.http() as client:
        lost = str(uuid.uuid4())
        database.sql(f"BEGIN; SELECT enqueue('echo', '1', id => '{lost}'); ROLLBACK")
        kept = str(uuid.uuid4())
        more = f", priority => 7, metadata => '{{\"order\": 3}}', id => '{kept}'"
        assert enqueue(database, "echo", {"a": [1, 2]}, more) == kept
        task = ended(client, kept)
        assert (task["status"], task["result"], task["priority"]) == ("SUCCESS", {"a": [1, 2]}, 7), task
        assert task["metadata"] == {"order": 3}
        assert client.get(f"/v1/tasks/{lost}").status_code == 404
        # An id that the database made sorts by its time, as the server's do.
        assert uuid.UUID(enqueue(database, "echo", 2)).version == 7
        row = database.sql("INSERT INTO inbox (model, input) VALUES ('echo', '[ 1.50 ]') RETURNING id")
        assert ended(client, row)["result"] == [1.5]
        assert database.sql("SELECT count(*) FROM inbox") == "0"


def test_what_is_written_while_no_server_runs_waits_for_one(serve: Serve, tmp_path: Path, database: Database) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", database.url).wait_ready()
    assert server.stop() == 0
    written = database.sql("SELECT enqueue('echo', to_jsonb(g)) || ' ' || g FROM generate_series(1, 300) AS g")
    ids = {task: int(number) for task, number in map(str.split, written.splitlines())}
    report = run_cli("doctor", str(models), "--store", database.url, "--json", "--listen", "127.0.0.1:0", check=False)
    assert "300 tasks wait" in report.stdout, report.stdout
    checked = json.loads(run_cli("store", "check", "--store", database.url, "--json").stdout)
    assert (checked["inbox"]["rows"], checked["inbox"]["refused"]) == (300, 0), checked
    assert checked["inbox"]["oldest"].endswith("Z"), checked
    again = serve(models, "--store", database.url).wait_ready()
    with again.http() as client:
        for task, number in ids.items():
            assert ended(client, task)["result"] == number


def test_a_server_that_is_killed_again_and_again_makes_each_task_once(
    serve: Serve, tmp_path: Path, database: Database
) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", database.url).wait_ready()
    stop = threading.Event()

    def write(worker: int) -> list[str]:
        ids: list[str] = []
        while not stop.is_set():
            made = database.sql(f"SELECT enqueue('echo', '[{worker}, 1]') FROM generate_series(1, 40)")
            ids += made.split()
        return ids

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, number) for number in range(3)]
        for _ in range(4):
            before = int(database.sql("SELECT count(*) FROM tasks"))
            server.wait(lambda _, n=before: int(database.sql("SELECT count(*) FROM tasks")) > n + 100, "at work")
            server.kill()
            server = serve(models, "--store", database.url)
            assert server.url
        stop.set()
        written = [task for writer in writers for task in writer.result(LONG)]
    server.wait(lambda _: database.sql("SELECT count(*) FROM inbox") == "0", "done with the inbox")
    server.wait(lambda _: database.sql("SELECT count(*) FROM tasks WHERE state <> 3") == "0", "done with the tasks")
    assert int(database.sql("SELECT count(*) FROM tasks")) == len(written) == len(set(written))
    assert set(database.sql("SELECT id FROM tasks").split()) == set(written)


def test_a_row_that_waits_is_a_task_to_whoever_asks_and_a_full_model_holds_up_no_other(
    serve: Serve, tmp_path: Path, database: Database
) -> None:
    gate = tmp_path / "gate"
    limits = "[limits]\nmax_queue = 1\n[batching]\nmax_batch_size = 1\n"
    write_model(tmp_path / "models", "gated", GATED, limits)
    write_model(tmp_path / "models", "echo", ECHO)
    server = serve(tmp_path / "models", "--store", database.url).wait_ready()
    with server.http() as client:
        value = {"gate": str(gate)}
        ids = [enqueue(database, "gated", {**value, "n": number}) for number in range(8)]
        assert ended(client, enqueue(database, "echo", "through"))["result"] == "through"
        server.wait(lambda _: 0 < int(database.sql("SELECT count(*) FROM inbox")) < 8, "full")
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
    serve: Serve, tmp_path: Path, database: Database
) -> None:
    write_model(tmp_path / "models", "plus", PLUS_ONE, PLUS_ONE_TOML)
    flags = ("--store", database.url, "--max-body-bytes", "4KiB")
    server = serve(tmp_path / "models", *flags).wait_ready()
    rows = {
        "unknown_model": enqueue(database, "plsu", [1]),
        "invalid_input": enqueue(database, "plus", [1, 2]),
        "body_too_large": enqueue(database, "plus", [1] * 4_000),
    }
    never = enqueue(
        database, "plus", [1, 2, 3, 4], ", eta => now() + interval '2 h', expires => now() + interval '1 h'"
    )
    bad_retry = enqueue(database, "plus", [1, 2, 3, 4], """, retry => '{"max_retreis": 1}'""")
    good = enqueue(database, "plus", [1, 2, 3, 4])
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
        assert database.sql("SELECT count(*) FROM inbox") == "0"
        # Another one's id changes nothing of that one, and is told to people.
        database.sql(f"INSERT INTO inbox (id, model, input) VALUES ('{good}', 'plus', '[0, 0, 0, 0]')")
        server.wait_log(lambda line: "cannot be tasks" in line, "that a row was refused")
        assert ended(client, good)["result"] == [2, 3, 4, 5]
        assert "is taken" in database.sql("SELECT error FROM inbox")


def test_an_input_as_bytes_is_read_as_a_body_of_that_type_is(serve: Serve, tmp_path: Path, database: Database) -> None:
    write_model(tmp_path / "models", "plus", PLUS_ONE, PLUS_ONE_TOML)
    server = serve(tmp_path / "models", "--store", database.url).wait_ready()
    insert = "INSERT INTO inbox (model, body, content_type) VALUES ('plus', '{}', '{}') RETURNING id"
    floats = "\\x0000803f000000400000404000008040"
    with server.http() as client:
        good = database.sql(insert.format(floats, "application/octet-stream"))
        assert ended(client, good)["result"] == [2, 3, 4, 5]
        bad = database.sql(insert.format(floats, "image/png"))
        assert ended(client, bad)["error"]["code"] == "unsupported_media_type"  # pyright: ignore[reportIndexIssue]


def test_a_role_needs_no_more_than_to_insert(serve: Serve, tmp_path: Path, database: Database) -> None:
    server = serve(write_model(tmp_path / "models", "echo", ECHO), "--store", database.url).wait_ready()
    role = f"app_{uuid.uuid4().hex}"
    database.sql(f"CREATE ROLE {role}")
    try:
        database.sql(f"GRANT USAGE ON SCHEMA cresset TO {role}; GRANT INSERT ON inbox TO {role}")
        task = database.sql(f"SET ROLE {role}; SELECT enqueue('echo', '1')")
        with server.http() as client:
            assert ended(client, task)["result"] == 1
        for sql in ("SELECT 1 FROM inbox", "DELETE FROM inbox", "SELECT 1 FROM tasks"):
            with pytest.raises(RuntimeError, match="permission denied"):
                database.sql(f"SET ROLE {role}; {sql}")
    finally:
        psql(f"DROP OWNED BY {role}; DROP ROLE {role}", database.name)


def test_where_keys_are_needed_the_server_says_whose_such_tasks_are(
    serve: Serve, tmp_path: Path, database: Database
) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    data = ("--data-dir", str(tmp_path / "data"))
    made = {
        tenant: run_cli("keys", "create", "--name", tenant, "--tenant", tenant, "--scope", "read", *data).stdout.strip()
        for tenant in ("shop", "other")
    }
    server = serve(models, "--store", database.url, "--auth", "--inbox-tenant", "shop").wait_ready()
    task = enqueue(database, "echo", 1)
    with httpx.Client(base_url=server.url, timeout=LONG) as client:

        def ask(tenant: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {made[tenant]}"}
            return client.get(f"/v1/tasks/{task}", params={"wait": "60s"}, headers=headers)

        assert ask("shop").json()["status"] == "SUCCESS"
        assert ask("other").status_code == 404


def test_without_an_inbox_rows_stay_where_they_are(serve: Serve, tmp_path: Path, database: Database) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", database.url, "--inbox=false").wait_ready()
    task = enqueue(database, "echo", 1)
    with server.http() as client:
        accepted = client.post("/v1/models/echo/tasks", json={"input": 2})
        assert ended(client, accepted.json()["task_id"])["result"] == 2
        assert client.get(f"/v1/tasks/{task}").status_code == 404
    assert database.sql("SELECT count(*) FROM inbox") == "1"
