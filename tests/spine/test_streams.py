"""Results that come piece by piece: the example, by the real program, as its README tells it; and through a crash."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cresset
import pytest
from conftest import Serve
from support.models import write_model
from support.server import LONG, REPOSITORY, Server

EXAMPLE = REPOSITORY / "examples" / "stream"
FOLLOWS = " on the hill is lit at dusk. the keeper climbs the hill wit"


@pytest.fixture
def example(serve: Serve, tmp_path: Path) -> Server:
    """The example, on this interpreter instead of an environment of its own."""
    folder = tmp_path / "models" / "stream"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("requirements.txt", "__pycache__"))
    toml = folder / "model.toml"
    toml.write_text(toml.read_text() + f'\n[environment]\npython = "{sys.executable}"\n')
    return serve(folder).wait_ready()


def curl(server: Server, accept: str, value: Any) -> str:
    command = ["curl", "-sSN", "-H", "content-type: application/json", "-H", f"accept: {accept}"]
    url = f"{server.url}/v1/models/stream/predict"
    asked = subprocess.run(
        [*command, "-d", json.dumps({"input": value}), url], capture_output=True, text=True, timeout=LONG, check=True
    )
    return asked.stdout


def test_the_example_does_what_its_readme_says(example: Server) -> None:
    order = {"text": "the lamp", "letters": len(FOLLOWS)}
    blocks = curl(example, "text/event-stream", order).removesuffix("\n\n").split("\n\n")
    events = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks[1:]]
    chunks = [json.loads(event["data"]) for event in events if event["event"] == "chunk"]
    assert [chunk["number"] for chunk in chunks] == list(range(len(FOLLOWS)))
    assert "".join(chunk["chunk"] for chunk in chunks) == FOLLOWS
    assert (events[-1]["event"], json.loads(events[-1]["data"])["result"]) == ("result", FOLLOWS)
    lines = [json.loads(line) for line in curl(example, "application/x-ndjson", order).splitlines()]
    assert "".join(line["chunk"] for line in lines if line["event"] == "chunk") == FOLLOWS
    assert lines[-1]["result"] == FOLLOWS
    assert json.loads(curl(example, "application/json", order))["result"] == FOLLOWS
    wrong = curl(example, "text/event-stream", {"text": "x", "letters": 0})
    assert "letters must be a number" in json.loads(wrong.split("event: error\ndata: ")[1])["detail"]

    with cresset.Client(example.url) as client, client.stream("stream", order) as stream:
        assert "".join(stream) == stream.result == FOLLOWS
        handle = client.submit("stream", order)
        kinds = {type(event) for event in handle.events(timeout=LONG)}
        assert kinds >= {cresset.TaskStatus, cresset.Chunk}
        assert handle.stream().wait() == FOLLOWS

    async def read() -> list[str]:
        async with cresset.AsyncClient(example.url) as client:
            streams = [client.stream("stream", {**order, "letters": n}) for n in (1, 5, 9)]
            return await asyncio.gather(*(stream.wait() for stream in streams))

    assert asyncio.run(read()) == [FOLLOWS[:n] for n in (1, 5, 9)]


def test_who_hangs_up_stops_the_model_and_a_cancelled_task_too(serve: Serve, tmp_path: Path) -> None:
    code = f"""
        import pathlib, time

        HERE = pathlib.Path({str(tmp_path)!r})

        def endless(name):
            try:
                while True:
                    time.sleep(0.002)
                    yield "x"
            finally:
                (HERE / f"closed-{{name}}").touch()

        def predict(batch):
            return [endless(name) for name in batch]
    """
    folder = write_model(tmp_path / "models", "endless", code, "[stream]\nenabled = true\n")
    server = serve(folder).wait_ready()
    with cresset.Client(server.url) as client:
        with client.stream("endless", "prediction") as stream:
            assert [next(stream), next(stream)] == ["x", "x"]
        server.wait(lambda _: (tmp_path / "closed-prediction").exists(), "told that the caller has gone")
        handle = client.submit("endless", "task")
        stream = handle.stream(timeout=LONG)
        assert next(stream) == "x"
        assert handle.cancel().status == "REVOKED"
        with pytest.raises(cresset.TaskRevoked):
            stream.wait()
        server.wait(lambda _: (tmp_path / "closed-task").exists(), "told of the cancellation")


#: The first run says some and waits for ever; the one after the crash says all of it.
SPEAKS = """
    import pathlib, time
    import cresset

    HERE = pathlib.Path({here!r})

    def speak(item):
        first = not (HERE / "ran").exists()
        (HERE / "ran").touch()
        cresset.current().progress(0.25, "begun")
        yield "a"
        yield "b"
        while first:
            time.sleep(0.01)
        yield "c"

    def predict(batch):
        return [speak(item) for item in batch]
"""


def test_a_reader_ends_with_the_right_answer_though_the_server_is_killed_in_the_middle(
    serve: Serve, tmp_path: Path
) -> None:
    code = SPEAKS.format(here=str(tmp_path))
    folder = write_model(tmp_path / "models", "speaks", code, "[stream]\nenabled = true\n")
    server = serve(folder).wait_ready()
    address = server.url.removeprefix("http://")
    with cresset.Client(server.url, retries=cresset.Retries(attempts=200, max_delay=0.2)) as client:
        handle = client.submit("speaks", 1)
        events: list[cresset.TaskEvent] = []
        following = handle.events(timeout=LONG)
        for event in following:
            events.append(event)
            if event == cresset.Chunk("b", 1, 1):
                break
        server.wait(lambda _: handle.status().progress is not None, "told how far it has come")
        progress = handle.status().progress
        assert progress is not None
        assert (progress.fraction, progress.message) == (0.25, "begun")
        server.kill()
        serve(folder, "--listen", address)
        events += following
        said = [event for event in events if isinstance(event, (cresset.Chunk, cresset.Restart))]
        restart = next(event for event in said if isinstance(event, cresset.Restart))
        assert restart.attempt == 2
        assert [event.value for event in said if isinstance(event, cresset.Chunk)] == ["a", "b", "a", "b", "c"]
        ends = [event for event in events if isinstance(event, cresset.TaskStatus) and event.is_final]
        assert [(end.status, end.result, end.attempts) for end in ends] == [("SUCCESS", "abc", 2)]
        assert handle.stream().wait() == "abc"


def test_what_a_model_logs_reaches_who_follows_and_may(serve: Serve, tmp_path: Path) -> None:
    code = """
        import logging, pathlib
        import cresset

        HERE = pathlib.Path({here!r})
        logging.getLogger("talker").addHandler(cresset.TaskLogHandler())

        def predict(batch):
            logging.getLogger("talker").warning("%d to do", len(batch))
            for item, name in enumerate(batch):
                cresset.current().log(f"begun with {{name}}", item=item)
            while not (HERE / "go").exists():
                pass
            return batch
    """
    folder = write_model(tmp_path / "models", "talks", code.format(here=str(tmp_path)))
    server = serve(folder).wait_ready()
    with cresset.Client(server.url) as client:
        handle = client.submit("talks", "a")
        lines: list[cresset.LogLine] = []
        events = handle.events(timeout=LONG, logs=True)
        for event in events:
            if isinstance(event, cresset.LogLine):
                lines.append(event)
            if len(lines) == 2:
                (tmp_path / "go").touch()
        assert [(line.number, line.level, line.text, line.attempt) for line in lines] == [
            (0, "warning", "1 to do", 1),
            (1, "info", "begun with a", 1),
        ]
        # Who does not ask is told none.
        assert not [event for event in handle.events() if isinstance(event, cresset.LogLine)]


def test_all_tasks_are_watched(example: Server) -> None:
    with example.http() as http, http.stream("GET", "/v1/events", params={"model": "stream"}) as answer:
        pieces = answer.iter_text()
        text = next(pieces)
        task_id = http.post("/v1/models/stream/tasks", json={"input": "the"}).json()["task_id"]
        while '"SUCCESS"' not in text:
            text += next(pieces)
    seen = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert [(one["task_id"], one["status"]) for one in seen] == [
        (task_id, status) for status in ("PENDING", "STARTED", "SUCCESS")
    ]
