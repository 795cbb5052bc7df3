"""API keys by the real program: made and revoked beside a running server, tenants kept apart, and no key in any log."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import cresset
import pytest
from conftest import Serve
from support.models import ECHO, write_model
from support.server import LONG, Server, program

DIES = """
import os

def predict(batch):
    os._exit(3)
"""


def run(server: Server | Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command, in the folder with the data."""
    data_dir = server if isinstance(server, Path) else server.data_dir
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CRESSET_")}
    command = [str(program()), *args]
    if args[0] == "keys":
        command += ["--data-dir", str(data_dir)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LONG, cwd=data_dir.parent, env={**clean, **env}, check=False
    )


def made(server: Server | Path, tenant: str, *scopes: str) -> str:
    """A new key of this tenant."""
    flags = [flag for scope in scopes for flag in ("--scope", scope)]
    done = run(server, "keys", "create", "--name", f"{tenant}'s", "--tenant", tenant, *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("crs_")
    return done.stdout.strip()


def listed(server: Server | Path) -> list[dict[str, Any]]:
    done = run(server, "keys", "list", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["keys"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "models", "echo", ECHO)
    write_model(tmp_path / "models", "dies", DIES, "[limits]\nmax_attempts = 1\n")
    return tmp_path / "models"


def test_tenants_are_kept_apart_and_outlive_a_kill(serve: Serve, folder: Path) -> None:
    server = serve(folder, "--auth").wait_ready()
    # The first keys beside the running server, which said that there is none.
    server.wait_log(lambda line: "there is no key yet" in line, "that nobody can come in")
    ours, theirs = made(server, "ours", "submit", "read"), made(server, "theirs", "submit", "read")
    server.wait(lambda _: server.opens(ours) and server.opens(theirs), "looking at the keys again")
    with cresset.Client(server.url, key=ours) as us, cresset.Client(server.url, key=theirs) as them:
        handle = us.submit("echo", "secret plans")
        assert handle.result(timeout=LONG) == "secret plans"
        dead = us.submit("dies", 1)
        assert dead.wait(timeout=LONG).status == "FAILURE"
        for call in (
            lambda: them.task(handle.id).status(),
            lambda: them.task(handle.id).result(timeout=LONG),
            lambda: them.cancel(handle.id),
        ):
            with pytest.raises(cresset.UnknownTask):
                call()
        with pytest.raises(cresset.UnknownLetter):
            them.dead.get(dead.id)
        assert list(them.tasks()) == []
        assert {task.id for task in us.tasks()} == {handle.id, dead.id}
        server.kill()
    server = serve(folder, "--auth").wait_ready()
    with cresset.Client(server.url, key=ours) as us, cresset.Client(server.url, key=theirs) as them:
        assert us.task(handle.id).result(timeout=LONG) == "secret plans"
        with pytest.raises(cresset.UnknownTask):
            them.task(handle.id).status()


def test_a_revoked_key_opens_nothing_within_a_second_or_two(serve: Serve, folder: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    key = made(data_dir, "ours", "read")  # before the first start
    server = serve(folder, "--auth").wait_ready()
    assert server.data_dir == data_dir
    assert server.opens(key)
    (record,) = listed(server)
    assert (record["state"], record["tenant"], record["scopes"]) == ("good", "ours", ["read"])
    assert run(server, "keys", "revoke", record["id"]).returncode == 0
    server.wait(lambda _: not server.opens(key), "refusing the key")
    assert listed(server)[0]["state"] == "revoked"
    assert run(server, "keys", "revoke", record["id"], "--forget").returncode == 0
    assert listed(server) == []
    assert run(server, "keys", "revoke", record["id"]).returncode == 66


def test_the_command_line_sends_a_key_and_says_what_is_wrong_with_it(
    serve: Serve, folder: Path, tmp_path: Path
) -> None:
    key = made(tmp_path / "data", "ours", "submit", "read")
    read_only = made(tmp_path / "data", "ours", "read")
    server = serve(folder, "--auth").wait_ready()
    submit = ("submit", "echo", "--json", "7", "--wait", "--url", server.url)
    done = run(server, *submit, CRESSET_KEY=key)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    assert run(server, *submit, "--key", key).returncode == 0
    without, wrong = run(server, *submit), run(server, *submit, "--key", key[:-1] + "!")
    less = run(server, *submit, CRESSET_KEY=read_only)
    assert (without.returncode, wrong.returncode, less.returncode) == (77, 77, 77)
    assert "CRESSET_KEY" in without.stderr
    assert "`submit`" in less.stderr
    for said in (without, wrong, less):
        assert key.rsplit("_", 1)[1][:-1] not in said.stdout + said.stderr


def test_no_key_is_in_the_log_nor_in_any_file(serve: Serve, folder: Path, tmp_path: Path) -> None:
    key = made(tmp_path / "data", "ours", "submit", "read")
    server = serve(folder, "--auth", "--log-level", "trace").wait_ready()
    guess = key[:-4] + "0000"
    with cresset.Client(server.url, key=key) as client:
        assert client.submit("echo", 1).result(timeout=LONG) == 1
    assert not server.opens(guess)
    assert not server.opens("crs_nonsense")
    server.stop()
    for text in (key, guess):
        secret = text.rsplit("_", 1)[1]
        assert secret not in server.log
        for path in (tmp_path / "data").rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    assert (tmp_path / "data" / "keys.json").stat().st_mode & 0o777 == 0o600


def test_an_open_address_without_keys_is_said_loudly(serve: Serve, folder: Path) -> None:
    server = serve(folder, "--listen", "0.0.0.0:0")
    server.wait_log(lambda line: "ANYBODY WHO CAN REACH THIS ADDRESS" in line, "that it is open to anybody")
