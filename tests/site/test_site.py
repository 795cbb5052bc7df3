"""The example site as it really runs: uWSGI, nginx, uvicorn, a browser."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dev_env
import django_site
import httpx
import pytest
import served
from support.chromium import environment
from support.models import write_model
from support.programs import needed
from support.server import REPOSITORY, Server, program

LONG = 60.0
HELD_OUT = django_site.SITE / "models" / "digits" / "heldout"
SCREENSHOT = REPOSITORY / "docs" / "images" / "django.png"
THREADS = 8
"""Of the site's processes together: uwsgi.ini."""


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter that the site runs on."""
    return str(dev_env.build("site", sys.executable))


GATED = """
import pathlib, time

def predict(batch):
    while pathlib.Path({gate!r}).exists():
        time.sleep(0.02)
    return batch
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file is there the site's slow model answers nobody."""
    return tmp_path_factory.mktemp("gate") / "shut"


@pytest.fixture(scope="module")
def site(python: str, gate: Path) -> Iterator[django_site.Running]:
    """Cresset with both models, uWSGI with processes and threads, nginx in front."""
    needed("nginx")
    models = gate.parent / "models"
    slow = models / "slow"
    slow.mkdir(parents=True)
    (models / "digits").symlink_to(django_site.SITE / "models" / "digits")
    (slow / "model.toml").symlink_to(django_site.SITE / "models" / "slow" / "model.toml")
    (slow / "model.py").write_text(GATED.format(gate=str(gate)))
    with django_site.running(python, models=models, cresset_program=program()) as site:
        yield site


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Models that need no torch, and are there at once."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "slow").symlink_to(django_site.SITE / "models" / "slow")
    return folder


class Visitor:
    """A browser without a screen: cookies, and Django's token. The fixture `visit` makes them, and closes them."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=LONG)
        self.http.get("/").raise_for_status()

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.http.post(path, json=body, headers={"x-csrftoken": self.http.cookies["csrftoken"]})

    def submit(self, path: str, body: Any) -> dict[str, Any]:
        answer = self.post(path, body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def wait(self, task: dict[str, Any]) -> dict[str, Any]:
        while True:
            seen = self.http.get(task["url"], params={"wait": "20"}).raise_for_status().json()
            if seen["status"] in ("SUCCESS", "FAILURE", "REVOKED"):
                return seen


Visit = Callable[[django_site.Running], Visitor]


@pytest.fixture
def visit() -> Iterator[Visit]:
    """Makes visitors."""
    with ExitStack() as stack:

        def make(site: django_site.Running) -> Visitor:
            visitor = Visitor(site.url)
            stack.callback(visitor.http.close)
            return visitor

        yield make


def digit(number: int) -> tuple[Any, int]:
    """A held-out image, and what it shows."""
    lines = (HELD_OUT / "images.jsonl").read_text().splitlines()
    return json.loads(lines[number])[0], json.loads((HELD_OUT / "labels.json").read_text())[number]


def best(probabilities: list[float]) -> int:
    return max(range(len(probabilities)), key=probabilities.__getitem__)


def png(side: int, is_white: Callable[[int, int], bool]) -> bytes:
    """An image in two greys."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(255 * is_white(x, y) for x in range(side)) for y in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_visitor_submits_waits_and_follows(site: django_site.Running, visit: Visit) -> None:
    visitor = visit(site)
    pixels, label = digit(0)
    task = visitor.submit("/classify", {"input": pixels})
    seen = visitor.wait(task)
    assert (seen["status"], best(seen["result"])) == ("SUCCESS", label)
    with visitor.http.stream("GET", task["events_url"]) as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        data = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
    assert data[-1]["status"] == "SUCCESS"
    refused = visitor.post("/classify", {"input": [[17] * 8] * 8})
    assert (refused.status_code, refused.json()["detail"]) == (400, "input must be 8 rows of 8 numbers from 0 to 16")


def test_nobody_else_sees_it_and_the_way_to_cresset_is_shut(site: django_site.Running, visit: Visit) -> None:
    task = visit(site).submit("/classify", {"input": digit(1)[0]})
    other = visit(site)
    for path in (task["url"], f"{task['url']}?wait=5", task["events_url"]):
        assert other.http.get(path).status_code == 404
    for path in (f"/_cresset/v1/tasks/{task['task_id']}", "/_cresset/v1/models", "/_cresset/metrics"):
        assert other.http.get(path).status_code == 404


def test_the_api_validates_with_rest_framework(site: django_site.Running, visit: Visit) -> None:
    visitor = visit(site)
    pixels, label = digit(2)
    refused = visitor.post("/api/digits", {"pixels": pixels[:7]})
    assert (refused.status_code, list(refused.json())) == (400, ["pixels"])
    assert best(visitor.wait(visitor.submit("/api/digits", {"pixels": pixels}))["result"]) == label


def test_pages_are_served_while_more_callers_wait_than_the_site_has_threads(
    site: django_site.Running, visit: Visit, gate: Path
) -> None:
    visitor = visit(site)
    gate.touch()
    try:
        tasks = [visitor.submit("/compare/cresset", {"input": number}) for number in range(2 * THREADS)]
        with ThreadPoolExecutor(len(tasks)) as pool:
            waits = [pool.submit(visitor.wait, task) for task in tasks]
            try:
                for _ in range(4 * THREADS):
                    assert visitor.http.get("/about").status_code == 200
                assert not any(wait.done() for wait in waits)
            finally:
                gate.unlink()
            assert [wait.result(LONG)["result"] for wait in waits] == list(range(2 * THREADS))
    finally:
        gate.unlink(missing_ok=True)


def test_the_commands_ask_the_server_and_the_table_is_brought_up_to_date(
    site: django_site.Running, visit: Visit, python: str
) -> None:
    visitor = visit(site)
    visitor.wait(visitor.submit("/classify", {"input": digit(3)[0]}))
    assert "digits: ready" in site.manage(python, "cresset_check")
    site.manage(python, "cresset_sync")
    assert "SUCCESS" in visitor.http.get("/about").text
    assert "no issues" in site.manage(python, "check")


def test_the_page_in_a_browser(site: django_site.Running, tmp_path: Path) -> None:
    needed("chromium")
    browser = dev_env.build("browser", sys.executable)
    image, screenshot = tmp_path / "digit.png", tmp_path / "page.png"
    image.write_bytes(png(64, lambda x, y: 0.6 < ((x - 32) / 20) ** 2 + ((y - 32) / 28) ** 2 < 1.2))  # a zero
    command = [browser, Path(__file__).with_name("browser.py"), site.url, image, screenshot]
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=2 * LONG,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["complaints"] == []
    assert seen["samples"] == [digit(number)[1] for number in range(5)]
    assert (seen["stroke"], seen["upload"], seen["polled"]) == (1, 0, digit(1)[1])
    assert (seen["streams_before"], seen["polls"] > 0) == (7, True)
    assert screenshot.stat().st_size > 10_000
    if os.environ.get("UPDATE_DOCS"):
        SCREENSHOT.parent.mkdir(exist_ok=True)
        SCREENSHOT.write_bytes(screenshot.read_bytes())


@pytest.mark.parametrize("server", ["gevent", "asgi"])
def test_greenlets_and_asgi_serve_it_too(server: str, python: str, small: Path, visit: Visit) -> None:
    if server == "gevent":
        needed("nginx")
    with django_site.running(python, server=server, models=small, cresset_program=program()) as site:
        visitor = visit(site)
        tasks = [visitor.submit("/compare/cresset", {"input": number}) for number in range(THREADS)]
        with ThreadPoolExecutor(len(tasks)) as pool:
            assert [seen["result"] for seen in pool.map(visitor.wait, tasks)] == list(range(THREADS))
        task = visitor.submit("/compare/cresset", {"input": 7})
        with visitor.http.stream("GET", task["events_url"]) as events:
            data = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
        assert (data[0]["status"] in ("PENDING", "STARTED"), data[-1]["status"], data[-1]["result"]) == (
            True,
            "SUCCESS",
            7,
        )


def test_a_client_made_before_the_fork_shares_no_connection_after_it(python: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_model(models, "echo", "def predict(batch):\n    return batch\n")
    data = tmp_path / "data"
    data.mkdir()
    cresset = Server(models, data)
    address = served.free_address()
    command = [str(Path(python).parent / "uwsgi"), "--http-socket", address, "--master", "--processes", "3"]
    command += ["--threads", "2", "--die-on-term", "--need-app", "--module", "forked:application"]
    try:
        cresset.wait_ready()
        environ = {**os.environ, "CRESSET_URL": cresset.url, "PYTHONPATH": str(Path(__file__).parent)}
        log = tmp_path / "uwsgi.log"
        with log.open("wb") as sink:
            uwsgi = subprocess.Popen(command, env=environ, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL)
        try:
            seen = asked_until_all_have_answered(address, uwsgi, log)
        finally:
            served.stop(uwsgi)
    finally:
        cresset.close()
    assert not [one for one in seen if one["same_client"] or one["pid"] == one["master"]]
    by_process: dict[int, set[int]] = {}
    for one in seen:
        by_process.setdefault(one["pid"], set()).update(one["ports"])
    used = [port for ports in by_process.values() for port in ports]
    assert len(used) == len(set(used)), by_process
    assert not set(used) & set(seen[0]["before"])


def asked_until_all_have_answered(
    address: str, uwsgi: subprocess.Popen[bytes], log: Path, processes: int = 3
) -> list[dict[str, Any]]:
    """Asks from many threads until every process has answered; each answer is that to its own question."""
    pause = threading.Event()
    for _ in range(int(LONG / 0.05)):
        if uwsgi.poll() is not None or django_site.answers(address, "/ask?word=first"):
            break
        pause.wait(0.05)
    seen: list[dict[str, Any]] = []

    def ask(word: str) -> None:
        with httpx.Client(timeout=LONG) as http:
            one = http.get(f"http://{address}/ask", params={"word": word})
        assert one.status_code == 200, log.read_text()[-3000:]
        assert one.json()["answers"] == [word, word]
        seen.append(one.json())

    for number in range(20):
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(ask, [f"{number}-{word}" for word in range(24)]))
        if len({one["pid"] for one in seen}) == processes:
            return seen
    raise AssertionError(f"only {len({one['pid'] for one in seen})} processes ever answered")
