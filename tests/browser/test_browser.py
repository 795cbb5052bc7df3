"""A page of another origin follows tasks by a browser's own EventSource and WebSocket, over a kill of the server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import dev_env
import httpx
import pytest
import served
from conftest import Serve
from support.chromium import environment
from support.models import write_model
from support.programs import needed
from support.server import LONG, Server, run_cli
from support.web import Silent, serving

HERE = Path(__file__).parent

#: Gives back what it was sent, once the file `open` is beside it; says when it has begun.
GATE = """
import pathlib
import time

HERE = pathlib.Path(__file__).parent

def predict(batch):
    (HERE / "begun").touch()
    while not (HERE / "open").exists():
        time.sleep(0.02)
    return batch
"""


class Page(Silent, SimpleHTTPRequestHandler):
    """Serves the page."""


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """Where the page is: an origin of its own."""
    with serving(partial(Page, directory=str(HERE))) as url:
        yield url


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The folder of the model that waits."""
    return write_model(tmp_path / "models", "gate", GATE, "[batching]\nmax_batch_size = 8\n")


@pytest.fixture
def address() -> str:
    """An address that is free now and in a moment."""
    return served.free_address()


class Visit:
    """A browser with the page open."""

    def __init__(self, page: str, server: Server, key: str = "") -> None:
        needed("chromium")
        python = dev_env.build("browser", sys.executable)
        command = [str(python), str(HERE / "drive.py"), f"{page}/page.html", server.url, key]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def wait_started(self) -> None:
        """Until the page follows its tasks."""
        assert self.line() == "started"

    def seen(self) -> dict[str, Any]:
        """What it saw, once all has ended for it."""
        seen = json.loads(self.line())
        assert self.process.wait(LONG) == 0
        assert (seen["failed"], seen["complaints"]) == ("", []), seen
        return seen

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LONG)
        if self.process.stdout is not None:
            self.process.stdout.close()


def once(told: list[dict[str, Any]], result: str) -> None:
    """Each event once, and the right end last and only there."""
    ids = [event["id"] for event in told]
    assert len(ids) == len(set(ids)), told
    assert (told[-1]["status"], told[-1]["result"]) == ("SUCCESS", result), told
    assert all(event["status"] in ("PENDING", "STARTED") for event in told[:-1]), told


def test_a_page_follows_over_a_kill_of_the_server(serve: Serve, gate: Path, page: str, address: str) -> None:
    flags = ("--listen", address, "--cors-origins", page)
    server = serve(gate.parent, *flags).wait_ready()
    visit = Visit(page, server)
    try:
        visit.wait_started()
        server.kill()
        serve(gate.parent, *flags).wait_ready()
        (gate / "open").touch()
        seen = visit.seen()
    finally:
        visit.close()
    once(seen["events"], "by events")
    once(seen["socket"], "by socket")
    assert seen["client"] == "by client"
    assert (seen["opened"], seen["sockets"], seen["protocol"]) == (2, 2, "cresset.v1")


def test_a_page_of_an_origin_that_is_not_named_follows_nothing(serve: Serve, gate: Path, page: str) -> None:
    server = serve(gate.parent).wait_ready()
    visit = Visit(page, server)
    try:
        visit.wait_started()
        seen = json.loads(visit.line())
    finally:
        visit.close()
    assert "Failed to fetch" in seen["failed"]
    assert (seen["opened"], seen["sockets"], seen["events"], seen["socket"]) == (0, 0, [], [])


def test_a_page_with_a_key_opens_a_socket(serve: Serve, gate: Path, page: str, tmp_path: Path) -> None:
    made = run_cli(
        *("keys", "create", "--name", "page", "--tenant", "page", "--scope", "submit", "--scope", "read"),
        *("--data-dir", str(tmp_path / "data")),
    )
    server = serve(gate.parent, "--auth", "--cors-origins", page).wait_ready()
    (gate / "open").touch()
    visit = Visit(page, server, made.stdout.strip())
    try:
        visit.wait_started()
        seen = visit.seen()
    finally:
        visit.close()
    once(seen["socket"], "by socket")
    assert seen["protocol"] == "cresset.v1"


def test_the_page_of_the_api_is_whole_and_tries_what_it_shows(serve: Serve, gate: Path, tmp_path: Path) -> None:
    needed("chromium")
    made = run_cli(
        *("keys", "create", "--name", "reader", "--tenant", "page", "--scope", "read"),
        *("--data-dir", str(tmp_path / "data")),
    )
    server = serve(gate.parent, "--auth").wait_ready()
    python = dev_env.build("browser", sys.executable)
    command = [str(python), str(HERE / "read_docs.py"), f"{server.url}/docs", made.stdout.strip()]
    told = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False, env=environment())
    assert told.returncode == 0, told.stderr
    seen = json.loads(told.stdout)
    document = httpx.get(f"{server.url}/openapi.json").raise_for_status().json()
    assert seen["operations"] == sum(len(path) for path in document["paths"].values())
    assert seen["hosts"] == [server.url], "nothing is fetched from elsewhere"
    assert (seen["without"], seen["with"]) == (401, 200), "the key that it is given is the one it sends"
    refused = [complaint for complaint in seen["complaints"] if "401" not in complaint]
    assert refused == [], "its policy lets it do all that it does"
