"""What a slow model does to a site: inline in the view, behind Celery, and at Cresset, on this machine, in turns.

    make django-compare            starts the site (uWSGI behind nginx, a Celery worker on Redis) and runs this
    python compare.py --url http://127.0.0.1:8080 [--rounds 3] [--seconds 8] [--json FILE]

A site that was started without a Celery worker (`SITE_CELERY`) is measured without one, and that is said.

While 64 callers at once ask a model that takes half a second an item, another page of the site is asked for at a steady
rate, which goes on whether or not answers come: a page that is late does not make the next one be asked later, as
visitors do not wait for each other. Needs the standard library alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CALLERS = 64
PAGES_A_SECOND = 25
PAGE = "/about"
TRIES = 200
"""Submits whose time is taken, one after another."""
SPREAD = 4.0
"""Seconds in which the callers come, one after another: visitors are not in step, and a model's copies then are not."""
RAMP = 9.0
"""Seconds before a phase is measured: by then each caller has had an answer, and connections and imports are made."""
NOT_FOUND = 404
CSRF = "csrftoken"
"""The cookie that Django wants to see again in a header, of whoever changes something."""
LONGEST = 60.0
"""Seconds after which a request has failed."""
POLL_EVERY = 1.0
"""Seconds between two looks at a Celery task, as pages commonly have it. Cresset's client holds one long poll."""
WAYS = {"inline": "inline in the view", "celery": "behind Celery", "cresset": "at Cresset"}


class Connection:
    """One connection to the site, kept; with the cookies that it was given."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.cookies: dict[str, str] = {}
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """The status and the body of one request."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self.address)
        reader, writer = self._streams
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.address[0]}", f"content-length: {len(content)}"]
        if body is not None:
            lines.append("content-type: application/json")
        if self.cookies:
            lines.append("cookie: " + "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        if CSRF in self.cookies:
            lines.append(f"x-csrftoken: {self.cookies[CSRF]}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        return await self._answer(reader)

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in head[1:]:
            name, _, value = line.partition(": ")
            if name.lower() == "set-cookie":
                cookie, _, text = value.partition(";")[0].partition("=")
                self.cookies[cookie] = text
            headers[name.lower()] = value
        if headers.get("transfer-encoding") == "chunked":
            content = b""
            while size := int(await reader.readline(), 16):
                content += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
        else:
            content = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return int(head[0].split()[1]), content

    def close(self) -> None:
        """Ends it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class Measured:
    """One phase."""

    pages: list[float] = field(default_factory=list)
    """Seconds that the other page took, for each request; a failed one counts as the longest."""
    failed: int = 0
    in_time: int = 0
    """Pages that were there before the phase was over."""
    answers: list[float] = field(default_factory=list)
    """Seconds from asking the model to its answer."""
    seconds: float = 0.0

    def told(self) -> dict[str, float]:
        """The figures."""
        return {
            "pages": len(self.pages),
            "pages_failed": self.failed,
            "pages_a_second": self.in_time / self.seconds if self.seconds else 0.0,
            "page_p50_ms": percentile(self.pages, 0.5) * 1e3,
            "page_p99_ms": percentile(self.pages, 0.99) * 1e3,
            "page_max_ms": max(self.pages, default=0.0) * 1e3,
            "answers_a_second": len(self.answers) / self.seconds if self.seconds else 0.0,
            "answer_p50_ms": percentile(self.answers, 0.5) * 1e3,
        }


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


async def page(address: tuple[str, int], free: list[Connection], into: Measured, until: float) -> None:
    """Asks for the other page once; it is in time when it is there by `until`."""
    connection = free.pop() if free else Connection(address)
    started = time.perf_counter()
    try:
        status, _ = await asyncio.wait_for(connection.ask("GET", PAGE), LONGEST)
    except (OSError, asyncio.IncompleteReadError, TimeoutError, asyncio.TimeoutError):
        status = 0
    if status != 200:
        connection.close()
        into.failed += 1
        into.pages.append(LONGEST)
        return
    into.pages.append(time.perf_counter() - started)
    into.in_time += time.perf_counter() <= until
    free.append(connection)


async def visitors(address: tuple[str, int], seconds: float, into: Measured) -> None:
    """Asks for the other page at a steady rate."""
    free: list[Connection] = []
    running: set[asyncio.Task[None]] = set()
    started = time.perf_counter()
    for number in range(int(seconds * PAGES_A_SECOND)):
        await asyncio.sleep(max(0.0, started + number / PAGES_A_SECOND - time.perf_counter()))
        task = asyncio.create_task(page(address, free, into, started + seconds))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for connection in free:
        connection.close()


async def inline(connection: Connection) -> None:
    """Asks the model in the view."""
    status, content = await connection.ask("POST", "/compare/inline", {"input": 7})
    assert (status, content and json.loads(content)) == (200, {"result": 7}), (status, content)


async def cresset(connection: Connection) -> None:
    """Submits, and waits for the answer as the page's script does."""
    status, content = await connection.ask("POST", "/compare/cresset", {"input": 7})
    assert status == 202, (status, content)
    url = json.loads(content)["url"]
    while True:
        status, content = await connection.ask("GET", f"{url}?wait=20")
        assert status == 200, (status, content)
        task = json.loads(content)
        if task["status"] in ("SUCCESS", "FAILURE", "REVOKED"):
            assert task["result"] == 7, task
            return


async def celery(connection: Connection) -> None:
    """Submits, and asks for the state again and again, as a page's script does."""
    status, content = await connection.ask("POST", "/compare/celery", {"input": 7})
    assert status == 202, (status, content)
    url = json.loads(content)["url"]
    while True:
        await asyncio.sleep(POLL_EVERY)
        status, content = await connection.ask("GET", url)
        assert status == 200, (status, content)
        task = json.loads(content)
        if task["status"] in ("SUCCESS", "FAILURE", "REVOKED"):
            assert task["result"] == 7, task
            return


ASKS = {"inline": inline, "celery": celery, "cresset": cresset}


async def caller(address: tuple[str, int], ask: Any, into: Measured, stop: asyncio.Event, after: float) -> None:
    """Asks the model again and again, from some seconds on."""
    connection = Connection(address)
    await asyncio.sleep(after)
    while not stop.is_set():
        started = time.perf_counter()
        await ask(connection)
        if not stop.is_set():  # those that come after the phase do not belong to it
            into.answers.append(time.perf_counter() - started)
    connection.close()


async def phase(address: tuple[str, int], ask: Any, seconds: float, ramp: float) -> Measured:
    """The site for some seconds, with or without callers."""
    into, stop = Measured(seconds=seconds), asyncio.Event()
    starts = [SPREAD * number / CALLERS for number in range(CALLERS if ask else 0)]
    callers = [asyncio.create_task(caller(address, ask, into, stop, after)) for after in starts]
    await asyncio.sleep(ramp if ask else 0.0)
    into.answers.clear()
    started = time.perf_counter()
    asked = asyncio.create_task(visitors(address, seconds, into))
    await asyncio.sleep(seconds)
    into.seconds = time.perf_counter() - started
    stop.set()
    await asyncio.gather(asked, *callers)
    return into


async def submits(address: tuple[str, int], ways: list[str], tries: int) -> dict[str, float]:
    """What a submit adds to a view: views that do nothing and views that submit, in turns."""
    connection = Connection(address)
    await connection.ask("GET", "/")  # the page that gives the token
    names = ["plain", *(way for way in ways if way != "inline")]
    took: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(tries + 1):
        for name, seconds in took.items():
            started = time.perf_counter()
            status, content = await connection.ask("POST", f"/compare/{name}", {"input": 7})
            if turn:  # the first of each makes its connections
                seconds.append(time.perf_counter() - started)
            assert status == 202, (name, status, content)
            task = json.loads(content)
            if task["task_id"]:  # nothing should run beside the next try
                status, content = await connection.ask("POST", task["cancel_url"], {})
                assert status == 200, (name, status, content)
    connection.close()
    return {name: statistics.median(seconds) * 1e3 for name, seconds in took.items()}


async def has_celery(address: tuple[str, int]) -> bool:
    """Whether the site was started with a Celery worker."""
    connection = Connection(address)
    status, _ = await connection.ask("GET", "/compare/celery")
    connection.close()
    return status != NOT_FOUND


async def measure(address: tuple[str, int], wanted: argparse.Namespace) -> dict[str, Any]:
    """All phases, in turns, each with an idle one before it; which way is first differs from round to round."""
    ways = list(WAYS)
    if not await has_celery(address):
        print("Celery is left out: the site was started without a worker (SITE_CELERY).", file=sys.stderr, flush=True)
        ways.remove("celery")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("idle", *ways)}
    added: list[dict[str, float]] = []
    for way in ways:  # each process of the site has made its clients by then
        await phase(address, ASKS[way], 1.0, 0.0)
    for number in range(wanted.rounds):
        first = number % len(ways)
        for way in ways[first:] + ways[:first]:
            idle = (await phase(address, None, wanted.seconds, wanted.ramp)).told()
            busy = (await phase(address, ASKS[way], wanted.seconds, wanted.ramp)).told()
            busy["page_p99_ratio"] = busy["page_p99_ms"] / idle["page_p99_ms"]
            for name, told in (("idle", idle), (way, busy)):
                found[name].append(told)
                print(f"round {number + 1}, {name}: {line(told)}", file=sys.stderr, flush=True)
        added.append(await submits(address, ways, wanted.tries))
    return {"phases": found, "submit": added, "machine": machine(wanted.build)}


def machine(build: str) -> str:
    """What was measured, and on what: figures mean nothing without it."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    python = platform.python_version()
    return f"Cresset: {build} build. {os.cpu_count()} cores, load {load} (1, 5, 15 min) at the end, Python {python}."


def line(told: dict[str, float]) -> str:
    """Figures in a line."""
    return (
        f"{told['pages_a_second']:.1f} pages/s in time, "
        f"p50 {told['page_p50_ms']:.0f} ms, p99 {told['page_p99_ms']:.0f} ms, worst {told['page_max_ms']:.0f} ms; "
        f"model {told['answers_a_second']:.1f} answers/s, p50 {told['answer_p50_ms']:.0f} ms"
    )


def summary(found: dict[str, Any]) -> str:
    """What came of it, as a table: medians over the rounds, and their range."""

    def cell(values: list[float], digits: int = 0) -> str:
        if not values:
            return "-"
        return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"

    rows = [
        "| | other pages a second | p50 ms | p99 ms | p99 to idle | answers a second | p50 ms | submit adds, p50 ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, words in {"idle": "no load", **WAYS}.items():
        told = found["phases"].get(name)
        if told is None:
            rows.append(f"| {words} | left out: the site has no Celery worker |  |  |  |  |  |  |")
            continue
        asked = [] if name == "idle" else told
        adds = [one[name] - one["plain"] for one in found["submit"] if name in one]
        cells = [
            cell([one["pages_a_second"] for one in told], 1),
            cell([one["page_p50_ms"] for one in told]),
            cell([one["page_p99_ms"] for one in told]),
            cell([one["page_p99_ratio"] for one in asked], 2),
            cell([one["answers_a_second"] for one in asked], 1),
            cell([one["answer_p50_ms"] for one in asked]),
            cell(adds, 2),
        ]
        rows.append(f"| {words} | {' | '.join(cells)} |")
    plain = cell([one["plain"] for one in found["submit"]], 2)
    return "\n".join([*rows, "", f"A view that does nothing takes {plain} ms (p50). {found['machine']}"])


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Compare a model inline, behind Celery and at Cresset.")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where the site is")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each phase")
    parser.add_argument("--ramp", type=float, default=RAMP, help="seconds of load before a phase is measured")
    parser.add_argument("--tries", type=int, default=TRIES, help="submits of each kind whose time is taken in a round")
    parser.add_argument("--build", default="unknown", help="of Cresset, to be printed: release or debug")
    parser.add_argument("--json", type=Path, help="write all figures here")
    wanted = parser.parse_args()
    parts = urlsplit(wanted.url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    found = asyncio.run(measure(address, wanted))
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=1))
    print(summary(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
