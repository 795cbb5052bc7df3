"""The task store as a whole, beside the real server: copied while it serves, lost, and put back."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
from conftest import Serve
from support.models import ECHO, write_model
from support.server import LONG, Server, program


def store(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    """Runs `cresset store`."""
    command = [str(program()), "store", *arguments, "--data-dir", str(data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONG, cwd=data.parent, check=False)


def checked(data: Path) -> dict[str, Any]:
    """What a check says of a store, which is sound."""
    ended = store("check", "--json", data=data)
    report = json.loads(ended.stdout)
    assert (ended.returncode, report["ok"]) == (0, True), ended.stdout
    return report


def submit(client: httpx.Client, value: str) -> str:
    accepted = client.post("/v1/models/echo/tasks", json={"input": value})
    assert accepted.status_code == 202, accepted.text
    return accepted.headers["location"]


def result(client: httpx.Client, place: str) -> str:
    task = client.get(place, params={"wait": "60s"}).json()
    assert task["status"] == "SUCCESS", task
    return task["result"]


def test_a_backup_of_a_server_at_work_has_all_that_was_accepted_before(serve: Serve, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models).wait_ready()
    # Some are files of their own by the default limit.
    values = [str(i % 10) * (20_000 * (i + 1)) for i in range(16)]
    with server.http() as client:
        ended = {submit(client, value): value for value in values}
        assert {place: result(client, place) for place in ended} == ended
        fresh = {submit(client, value): value for value in values}
        made = store("backup", "backup", data=server.data_dir)
        assert made.returncode == 0, made.stderr
        assert checked(server.data_dir)["in_use_by"]
        submit(client, "after the backup")
    busy = store("restore", str(tmp_path / "backup"), "--replace", data=server.data_dir)
    assert busy.returncode == 75 and "in use" in busy.stderr, busy.stderr
    server.kill()

    shutil.rmtree(server.data_dir)
    restored = store("restore", "backup", data=server.data_dir)
    assert restored.returncode == 0, restored.stderr
    assert checked(server.data_dir)["tasks"]["ended"] >= len(values)
    with serve(models).wait_ready().http() as client:
        for place, value in {**ended, **fresh}.items():
            assert result(client, place) == value


def test_a_corrupt_database_is_refused_with_a_way_out_that_works(serve: Serve, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server: Server = serve(models).wait_ready()
    with server.http() as client:
        place = submit(client, "kept")
        assert result(client, place) == "kept"
    assert store("backup", "backup", data=server.data_dir).returncode == 0
    server.kill()
    database = server.data_dir / "tasks.db"
    database.write_bytes(b"x" * database.stat().st_size)

    refused = serve(models)
    assert refused.ended() == 74
    for command in ("cresset store check", "cresset store restore BACKUP"):
        refused.wait_log(lambda line, command=command: command in line, command)
    assert database.read_bytes().startswith(b"xxx"), "what is damaged is left as it is"
    assert store("check", data=server.data_dir).returncode == 1
    restored = store("restore", "backup", "--replace", data=server.data_dir)
    assert restored.returncode == 0, restored.stderr
    aside = list(server.data_dir.glob("tasks.db.replaced-*/tasks.db"))
    assert [path.read_bytes()[:3] for path in aside] == [b"xxx"]
    with serve(models).wait_ready().http() as client:
        assert result(client, place) == "kept"
