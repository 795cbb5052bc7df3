"""What callers that wait cost the server: memory with many long polls open, and how soon all of them are told.

    python benches/idle.py [--program target/release/cresset] [--polls 10000] [--events | --sockets] [--each PER_SECOND]

Needs as many descriptors as polls, and some (`ulimit -n`), and an interpreter that has `cresset` and httpx. The model
sleeps until it is told.
With `--events` they follow the task by server-sent events, with `--sockets` each on a WebSocket of its own. All wait
for one task; with `--each`, each for a task of its own, so many of which end in a second. Bars: 10,000 long polls in
less than 150 MB; 5,000 followers in less than 300 MB, half of them told within 20 ms.

An answer has arrived when the kernel has it for its reader (`SO_TIMESTAMPNS`): how long one Python process takes to
read thousands is not the server's. It takes its share of the same cores while they are sent, though.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import resource
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parents[1]
URL = re.compile(r"http://([0-9.]+):(\d+)")
FINISHED_AT = re.compile(rb'"finished_at":"([^"]+)"')
SPARE_DESCRIPTORS = 100
#: Of Linux, and not among Python's names: each message comes with the time when the kernel had it.
SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("qq")
#: Until the first of many tasks is due: they have to be submitted, and followed, before.
READY_S = 30.0
MODEL_TOML = """name = "waiter"

[environment]
python = "{python}"
"""
MODEL = """import time
from pathlib import Path


def predict(batch):
    while not Path({told!r}).exists():
        time.sleep(0.01)
    return batch
"""


def resident_mb(pid: int) -> float:
    """Resident memory of the server process alone."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found is not None
    return int(found.group(1)) / 1024


def connect(address: tuple[str, int]) -> socket.socket:
    """A connection whose messages come with their times."""
    connection = socket.create_connection(address)
    connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return connection


def open_polls(address: tuple[str, int], tasks: list[str], path: str) -> list[socket.socket]:
    """A connection for each, with a request that waits for its task."""
    polls: list[socket.socket] = []
    for task in tasks:
        poll = connect(address)
        poll.sendall(f"GET {path.format(task=task)} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
        polls.append(poll)
    return polls


def open_sockets(address: tuple[str, int], tasks: list[str]) -> list[socket.socket]:
    """A WebSocket for each, past its greeting and subscribed to its task."""
    key = base64.b64encode(bytes(16)).decode()
    handshake = (
        "GET /v1/ws HTTP/1.1\r\nhost: bench\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
    ).encode()
    sockets: list[socket.socket] = []
    for task in tasks:
        text = json.dumps({"type": "subscribe", "task_id": task}).encode()
        # A frame of text, its length in one byte, under a mask of zeros.
        subscribe = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text
        opened = connect(address)
        opened.sendall(handshake)
        heard = b""
        while b'"hello"' not in heard:
            heard += opened.recv(4096)
        opened.sendall(subscribe)
        sockets.append(opened)
    return sockets


def connections(base: str) -> int:
    """Those that the server counts, this question's own included."""
    found = re.search(r"^cresset_connections (\d+)", httpx.get(f"{base}/metrics").text, re.MULTILINE)
    assert found is not None
    return int(found.group(1))


def arrival(ancillary: list[tuple[int, int, bytes]]) -> float:
    """When the kernel had what was read, as the wall clock."""
    for _, kind, value in ancillary:
        if kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = TIMESPEC.unpack(value)
            return seconds + nanoseconds / 1e9
    raise SystemExit("the kernel gives no times of arrival (SO_TIMESTAMPNS)")


def answered(polls: list[socket.socket], *, is_stream: bool) -> list[tuple[float, bytes]]:
    """When each was told of the end, and in what words."""
    waiting = selectors.DefaultSelector()
    for poll in polls:
        waiting.register(poll, selectors.EVENT_READ)
    told: list[tuple[float, bytes]] = []
    while len(told) < len(polls):
        for key, _ in waiting.select():
            poll = key.fileobj
            assert isinstance(poll, socket.socket)
            piece, ancillary, _, _ = poll.recvmsg(1 << 16, 256)
            if b"SUCCESS" not in piece:
                if piece and is_stream:
                    continue  # its greeting, and the states before the last
                raise SystemExit(f"a poll was answered with {piece[:200]!r}")
            waiting.unregister(poll)
            told.append((arrival(ancillary), piece))
    return told


def delay_of_end(arrived: float, piece: bytes) -> float:
    """Seconds since the task ended; the server says when, to the millisecond before its end is stored."""
    found = FINISHED_AT.search(piece)
    assert found is not None
    return arrived - datetime.fromisoformat(found.group(1).decode().replace("Z", "+00:00")).timestamp()


def submit(base: str, arguments: argparse.Namespace) -> list[str]:
    """The task of each poll."""
    with httpx.Client(base_url=base) as client:

        def one(body: dict[str, object]) -> str:
            return client.post("/v1/models/waiter/tasks", json=body).raise_for_status().json()["task_id"]

        if not arguments.each:
            return [one({"input": 1})] * arguments.polls
        first = datetime.now(timezone.utc) + timedelta(seconds=READY_S)
        etas = [first + timedelta(seconds=number / arguments.each) for number in range(arguments.polls)]
        return [one({"input": 1, "eta": eta.isoformat()}) for eta in etas]


def shown(seconds: list[float]) -> str:
    """The middle, nearly the worst, and the worst."""
    seconds = sorted(seconds)
    at = [seconds[len(seconds) // 2], seconds[len(seconds) * 99 // 100], seconds[-1]]
    return "p50 {:.1f} ms, p99 {:.1f} ms, all {:.1f} ms".format(*(1e3 * value for value in at))


def main() -> None:
    """Opens the polls, weighs the server, ends the task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=REPOSITORY / "target" / "release" / "cresset")
    parser.add_argument("--polls", type=int, default=10_000)
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--events", action="store_true", help="follow the task instead of polling")
    way.add_argument("--sockets", action="store_true", help="the same, on WebSockets")
    parser.add_argument("--each", type=float, metavar="PER_SECOND", help="each waits for a task of its own")
    arguments = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most < arguments.polls + SPARE_DESCRIPTORS:
        raise SystemExit(f"{arguments.polls} polls need more descriptors than the {most} that `ulimit -Hn` allows")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told"
        model = Path(folder) / "models" / "waiter"
        model.mkdir(parents=True)
        (model / "model.toml").write_text(MODEL_TOML.format(python=sys.executable))
        (model / "model.py").write_text(MODEL.format(told=str(told)))
        command = [arguments.program, "serve", model, "--listen", "127.0.0.1:0", "--data-dir", Path(folder) / "data"]
        server = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        try:
            found = next(found for line in server.stderr if (found := URL.search(line)))
            base, address = found.group(), (found.group(1), int(found.group(2)))
            if arguments.each:
                told.touch()
            tasks = submit(base, arguments)
            before = resident_mb(server.pid)
            path = "/v1/tasks/{task}/events" if arguments.events else "/v1/tasks/{task}?wait=5m"
            polls = open_sockets(address, tasks) if arguments.sockets else open_polls(address, tasks, path)
            while connections(base) <= arguments.polls:
                time.sleep(0.1)
            waiting = resident_mb(server.pid)
            is_stream = arguments.events or arguments.sockets
            what = "followers" if is_stream else "long polls"
            print(f"{arguments.polls:,} {what}: {waiting:.0f} MB resident, {before:.0f} MB without them,")
            print(f"{(waiting - before) * 1024 / len(polls):.1f} KB each")
            if not arguments.each:
                told.touch()
            ends = answered(polls, is_stream=is_stream)
            first = min(arrived for arrived, _ in ends)
            print(f"after the end of the task: {shown([delay_of_end(*end) for end in ends])}")
            if not arguments.each:
                print(f"after the first of them: {shown([arrived - first for arrived, _ in ends])}")
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
