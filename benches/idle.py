"""What callers that wait cost the server: memory with many long polls open, and how soon all of them are told.

    python benches/idle.py [--program target/release/cresset] [--polls 10000] [--events | --sockets]

Needs as many descriptors as polls, and some (`ulimit -n`), and an interpreter that has `cresset` and httpx. The model
sleeps until it is told.
With `--events` they follow the task by server-sent events, with `--sockets` each on a WebSocket of its own. Bars:
10,000 long polls in less than 150 MB; 5,000 followers in less than 300 MB, half of them told within 20 ms.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parents[1]
URL = re.compile(r"http://([0-9.]+):(\d+)")
SPARE_DESCRIPTORS = 100
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


def open_polls(address: tuple[str, int], path: str, count: int) -> list[socket.socket]:
    """So many connections, each with a request that waits for the task."""
    request = f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode()
    polls: list[socket.socket] = []
    for _ in range(count):
        poll = socket.create_connection(address)
        poll.sendall(request)
        polls.append(poll)
    return polls


def open_sockets(address: tuple[str, int], task: str, count: int) -> list[socket.socket]:
    """So many WebSockets, each past its greeting and subscribed to the task."""
    key = base64.b64encode(bytes(16)).decode()
    handshake = (
        "GET /v1/ws HTTP/1.1\r\nhost: bench\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
    ).encode()
    text = json.dumps({"type": "subscribe", "task_id": task}).encode()
    # A frame of text, its length in one byte, under a mask of zeros.
    subscribe = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text
    sockets: list[socket.socket] = []
    for _ in range(count):
        opened = socket.create_connection(address)
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


def answered(polls: list[socket.socket], *, is_stream: bool) -> list[float]:
    """When each was told of the end, in seconds from now."""
    began = time.perf_counter()
    waiting = selectors.DefaultSelector()
    for poll in polls:
        waiting.register(poll, selectors.EVENT_READ)
    times: list[float] = []
    while len(times) < len(polls):
        for key, _ in waiting.select():
            poll = key.fileobj
            assert isinstance(poll, socket.socket)
            piece = poll.recv(1 << 16)
            if b"SUCCESS" not in piece:
                if piece and is_stream:
                    continue  # its greeting, and the states before the last
                raise SystemExit(f"a poll was answered with {piece[:200]!r}")
            waiting.unregister(poll)
            times.append(time.perf_counter() - began)
    return times


def main() -> None:
    """Opens the polls, weighs the server, ends the task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=REPOSITORY / "target" / "release" / "cresset")
    parser.add_argument("--polls", type=int, default=10_000)
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--events", action="store_true", help="follow the task instead of polling")
    way.add_argument("--sockets", action="store_true", help="the same, on WebSockets")
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
            task: str = httpx.post(f"{base}/v1/models/waiter/tasks", json={"input": 1}).json()["task_id"]
            before = resident_mb(server.pid)
            path = f"/v1/tasks/{task}/events" if arguments.events else f"/v1/tasks/{task}?wait=5m"
            if arguments.sockets:
                polls = open_sockets(address, task, arguments.polls)
            else:
                polls = open_polls(address, path, arguments.polls)
            while connections(base) <= arguments.polls:
                time.sleep(0.1)
            waiting = resident_mb(server.pid)
            told.touch()
            is_stream = arguments.events or arguments.sockets
            times = sorted(answered(polls, is_stream=is_stream))
            what = "followers" if is_stream else "long polls"
            print(f"{arguments.polls:,} {what}: {waiting:.0f} MB resident, {before:.0f} MB without them,")
            print(f"{(waiting - before) * 1024 / len(polls):.1f} KB each; the last was told {times[-1] * 1e3:.0f} ms")
            middle = times[len(times) // 2] - times[0]
            print(f"after the task was let go, the first after {times[0] * 1e3:.0f} ms,")
            print(f"and half of them at most {middle * 1e3:.0f} ms after the first")
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
