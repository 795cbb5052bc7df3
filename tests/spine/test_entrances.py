"""The real program behind several entrances: a port, TLS, a socket in the file system, one for operators."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import cresset
import httpx
import pytest
from conftest import Serve
from support.models import write_model
from support.server import REPOSITORY, as_json, run_cli

PEM = REPOSITORY / "crates" / "gateway" / "tests" / "it" / "pem"
ECHO = "def predict(batch):\n    return batch\n"
TLS = ("--tls-cert", str(PEM / "one.pem"), "--tls-key", str(PEM / "one.key.pem"))


def has(*words: str) -> Callable[[str], bool]:
    """Whether a line has these words."""
    return lambda line: all(word in line for word in words)


def test_callers_and_operators_come_in_by_their_entrances(serve: Serve, tmp_path: Path) -> None:
    socket, admin = tmp_path / "door.sock", tmp_path / "admin.sock"
    models = write_model(tmp_path / "models", "echo", ECHO)
    listen = f"http://127.0.0.1:0,127.0.0.1:0,unix:{socket}"
    server = serve(models, "--listen", listen, "--admin-listen", f"unix:{admin}", "--socket-mode", "0600", *TLS)
    server.wait_ready()
    line = server.wait_log(has("listening", "https://"), "where it listens in TLS")
    match = re.search(r"https://[0-9.]+:\d+", line)
    assert match, line
    secure, ca = match.group(), str(PEM / "ca.pem")
    assert socket.stat().st_mode & 0o777 == 0o600

    for url, more in [(server.url, []), (f"unix:{socket}", []), (secure, ["--ca", ca])]:
        done = run_cli("submit", "echo", "--json", '{"a": 1}', "--wait", "--url", url, *more)
        assert as_json(done.stdout) == {"a": 1}, url
    stranger = run_cli("models", "--url", secure, check=False)
    assert stranger.returncode != 0, "nobody here trusts who signed it"
    assert "certificate" in stranger.stderr, stranger.stderr

    with cresset.Client(f"unix:{socket}") as client:
        assert client.predict("echo", [1]) == [1]
    with cresset.Client(secure, verify=ca) as client:
        assert client.submit("echo", [2]).result(timeout=30) == [2]
    with cresset.Client(secure, retries=0) as client, pytest.raises(cresset.ConnectionFailed):
        client.predict("echo", [1])

    with server.http() as client:
        assert client.get("/metrics").status_code == client.get("/v1/dead").status_code == 404
    with httpx.Client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=str(admin))) as operator:
        assert "cresset_connections" in operator.get("/metrics").text
        assert operator.get("/v1/dead").status_code == 200
    assert run_cli("dead", "list", "--url", f"unix:{admin}").returncode == 0

    assert server.stop() == 0
    assert not socket.exists()
    assert not admin.exists()


def test_the_socket_of_a_server_that_was_killed_is_taken_by_the_next(serve: Serve, tmp_path: Path) -> None:
    socket = tmp_path / "door.sock"
    models = write_model(tmp_path / "models", "echo", ECHO)
    listen = ("--listen", f"http://127.0.0.1:0,unix:{socket}")
    first = serve(models, *listen).wait_ready()
    second = serve(models, *listen, data="other")
    assert second.ended() == 69
    second.wait_log(lambda line: "another server listens there" in line, "why it ended")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(30)
    assert socket.exists()
    serve(models, *listen).wait_ready()
    with cresset.Client(f"unix:{socket}") as client:
        assert client.predict("echo", [1]) == [1]


def test_a_certificate_that_cannot_be_used_ends_the_start_and_the_check(tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    config = tmp_path / "cresset.toml"
    config.write_text(f'[server]\ntls_cert = "{PEM / "one.pem"}"\ntls_key = "{PEM / "two.key.pem"}"\n')
    for command in ("check", "serve"):
        done = run_cli(command, str(models), "--config", str(config), check=False)
        assert done.returncode == 65, done.stderr
        assert "server.tls_key" in done.stderr, done.stderr
        assert "not the key of the certificate" in done.stderr
