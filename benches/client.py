"""What a call of the blocking client costs its program: processor time and time, beside httpx and `http.client` alone.

    python benches/client.py [--calls 1500] [--rounds 5]

Needs an interpreter that has `cresset` and httpx. The server is a process of its own that says the same 202 to whatever
it is sent, so that nothing is measured but the caller's side. The ways take turns.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import socket
import statistics
import threading
import time
from typing import TYPE_CHECKING

import cresset
import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/v1/models/m/tasks"
BODY = b'{"input":7}'
JSON = {"content-type": "application/json"}
TASK = b'{"task_id":"01890a5d-ac96-774b-bcce-b302099a8057","status":"PENDING"}'
ANSWER = b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(TASK) + TASK
MICROSECONDS = 1e6


def answering(connection: socket.socket) -> None:
    """Answers each request of a connection; a body comes with its head or after it."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    held = b""
    while piece := connection.recv(65536):
        held += piece
        head, end, rest = held.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        if end and len(rest) >= length:
            held = rest[length:]
            connection.sendall(ANSWER)


def serve(listener: socket.socket) -> None:
    """Serves whoever comes."""
    while True:
        threading.Thread(target=answering, args=listener.accept()[:1], daemon=True).start()


def ways(port: int) -> dict[str, Callable[[], object]]:
    """What is measured: one submit each."""
    url = f"http://127.0.0.1:{port}"
    ours, theirs = cresset.Client(url), httpx.Client(base_url=url, trust_env=False)
    plain = http.client.HTTPConnection("127.0.0.1", port)

    def by_hand() -> bytes:
        plain.request("POST", PATH, BODY, JSON)
        return plain.getresponse().read()

    return {
        "cresset.Client.submit": lambda: ours.submit("m", 7),
        "httpx.Client.post": lambda: theirs.post(PATH, content=BODY, headers=JSON),
        "http.client": by_hand,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="What a call of the blocking client costs.")
    parser.add_argument("--calls", type=int, default=1500, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True).start()
    measured = ways(listener.getsockname()[1])
    cpu: dict[str, list[float]] = {name: [] for name in measured}
    took: dict[str, list[float]] = {name: [] for name in measured}
    for number in range(wanted.rounds + 1):
        for name, call in measured.items():
            before = time.process_time()
            each: list[float] = []
            for _ in range(wanted.calls):
                started = time.perf_counter()
                call()
                each.append(time.perf_counter() - started)
            if number:  # the first makes connections
                cpu[name].append((time.process_time() - before) / wanted.calls)
                took[name] += each
    print("| | CPU us a call, by rounds | p50 us | p99 us |\n| --- | --- | --- | --- |")
    for name in measured:
        rounds = ", ".join(f"{value * MICROSECONDS:.0f}" for value in cpu[name])
        cuts = statistics.quantiles(took[name], n=100)
        print(f"| {name} | {rounds} | {cuts[49] * MICROSECONDS:.0f} | {cuts[98] * MICROSECONDS:.0f} |")


if __name__ == "__main__":
    main()
