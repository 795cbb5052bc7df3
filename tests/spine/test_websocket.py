"""Tasks followed on a WebSocket, by a client of its kind, through the real server."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import Serve
from support.models import write_model
from support.server import LONG, Server
from websockets.sync.client import ClientConnection, connect

#: Each input names a pipe: it runs until somebody has written to that, and gives what was written.
HELD = """
from pathlib import Path

def predict(batch):
    return [Path(pipe).read_text() for pipe in batch]
"""


@contextmanager
def opened(server: Server) -> Generator[ClientConnection, None, None]:
    """A connection, past the greeting."""
    with connect(server.url.replace("http://", "ws://") + "/v1/ws", open_timeout=LONG) as socket:
        assert json.loads(socket.recv(LONG))["type"] == "hello"
        yield socket


def told(socket: ClientConnection) -> Iterator[dict[str, Any]]:
    """What is told until the connection ends."""
    while True:
        yield json.loads(socket.recv(LONG))


def until(socket: ClientConnection, status: str, attempts: int) -> dict[str, Any]:
    """The message that a task has come so far. Replies on the way are good ones."""
    for message in told(socket):
        if message["type"] == "reply":
            assert message["status"] in {200, 202}, message
        elif (message["task"]["status"], message["task"]["attempts"]) == (status, attempts):
            return message
    raise AssertionError("told ends by an error only")


def test_a_task_is_followed_over_a_kill_of_the_server_to_its_end(serve: Serve, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    models = write_model(tmp_path / "models", "held", HELD)
    held = serve(models).wait_ready()
    submit = {"type": "submit", "ref": 1, "model": "held", "idempotency_key": "k", "task": {"input": str(pipe)}}
    with opened(held) as socket:
        socket.send(json.dumps(submit))
        started = until(socket, "STARTED", 1)
        held.kill()
    task_id = started["task"]["task_id"]
    with opened(serve(models).wait_ready()) as socket:
        socket.send(json.dumps({"type": "subscribe", "task_id": task_id, "seen": started["id"]}))
        # Not sure that the first one arrived? It is safe to say again.
        socket.send(json.dumps(submit))
        until(socket, "STARTED", 2)
        pipe.write_text("done")
        ended = until(socket, "SUCCESS", 2)["task"]
        assert (ended["task_id"], ended["result"]) == (task_id, "done")
        socket.send(json.dumps({"type": "cancel", "ref": "c", "task_id": task_id}))
        for message in told(socket):
            assert message["type"] == "reply", "the end is told once"
            if message["ref"] == "c":
                assert message["body"]["cancelled"] == "too_late"
                break
