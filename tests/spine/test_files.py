"""Files in and out, sent by curl as people send them, through a real model; also over a death of the server."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cresset
import httpx
import pytest
from conftest import Serve
from support.models import ECHO, write_model
from support.server import LONG, Server, program, run_cli

#: Not UTF-8, and with all that could upset a reader of forms.
PNG = b"\x89PNG\r\n\x1a\n--boundary\r\n\0\xff" + bytes(range(256)) * 8

CODE = """
import cresset

class Turn(cresset.Model):
    def preprocess(self, payload):
        if isinstance(payload, cresset.File):
            return payload
        return payload["image"]

    def predict(self, batch):
        return [cresset.File(one.data[::-1], one.content_type, one.filename) for one in batch]
"""


@pytest.fixture
def turn(serve: Serve, tmp_path: Path) -> Server:
    """A model that gives a file back, last byte first; and one that takes none."""
    write_model(tmp_path / "models", "turn", CODE, "files = true")
    write_model(tmp_path / "models", "echo", ECHO)
    return serve(tmp_path / "models").wait_ready()


def curl(*words: str) -> Any:
    """What curl is answered, read as JSON."""
    program = shutil.which("curl")
    assert program is not None, "this test needs curl"
    run = subprocess.run([program, "-sS", "--max-time", "60", *words], capture_output=True, check=True)
    return json.loads(run.stdout)


def as_file(content_type: str, filename: str | None) -> dict[str, Any]:
    data = base64.b64encode(PNG[::-1]).decode()
    return {"$file": {"content_type": content_type, "filename": filename, "data": data}}


def test_curl_sends_a_body_and_a_form(turn: Server, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(PNG)
    raw = ("-H", "content-type: image/png", "--data-binary", f"@{image}")
    form = ("-F", f"image=@{image};type=image/png", "-F", "width=64", "-F", "more={};type=application/json")
    predict = f"{turn.url}/v1/models/turn/predict"
    assert curl(*raw, predict)["result"] == as_file("image/png", None)
    assert curl(*form, predict)["result"] == as_file("image/png", "a.png")
    task = curl(*form, f"{turn.url}/v1/models/turn/tasks?priority=3")
    ended = curl(f"{turn.url}/v1/tasks/{task['task_id']}?wait=30s")
    assert (ended["status"], ended["priority"]) == ("SUCCESS", 3)
    assert ended["result"] == as_file("image/png", "a.png")


def test_a_file_survives_the_death_of_its_server(serve: Serve, turn: Server, tmp_path: Path) -> None:
    with cresset.Client(turn.url) as client:
        ids = [client.submit("turn", cresset.File(PNG, "image/png", f"{n}.png")).id for n in range(20)]
    turn.kill()
    again = serve(tmp_path / "models").wait_ready()
    with cresset.Client(again.url) as client:
        results = [client.task(one).result(timeout=60) for one in ids]
    assert results == [cresset.File(PNG[::-1], "image/png", f"{n}.png") for n in range(20)]


def test_the_client_sends_files_and_gives_them(turn: Server) -> None:
    with cresset.Client(turn.url) as client:
        assert client.predict("turn", cresset.File(PNG)) == cresset.File(PNG[::-1])
        sent = client.submit("turn", {"image": cresset.File(PNG, "image/png", "ä.png")})
        assert sent.result(timeout=60) == cresset.File(PNG[::-1], "image/png", "ä.png")


def test_a_model_that_takes_no_files_says_so(turn: Server) -> None:
    answer = httpx.post(f"{turn.url}/v1/models/echo/predict", content=PNG, headers={"content-type": "image/png"})
    assert answer.status_code == 415
    assert "image/png" in answer.json()["detail"] and "application/json" in answer.json()["detail"]


def test_the_command_line_sends_a_file_as_it_is(turn: Server, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(PNG)
    plain = tmp_path / "a"
    plain.write_bytes(PNG)
    url = ("--url", turn.url)
    sent = run_cli("submit", "turn", "--file", str(image), "--wait", *url)
    assert json.loads(sent.stdout) == as_file("image/png", None)
    words = ("--priority", "3", "--metadata", '{"of": "ä"}', "--max-retries", "1", "--expires", "10m")
    task = run_cli("submit", "turn", "--file", str(plain), "--content-type", "image/x-odd", *words, *url).stdout.strip()
    ended = json.loads(run_cli("result", task, "--wait", "--json", *url).stdout)
    assert ended["result"] == as_file("image/x-odd", None)
    assert (ended["priority"], ended["metadata"]) == (3, {"of": "ä"})
    piped = subprocess.run(
        [program(), "submit", "turn", "--file", "-", "--content-type", "image/png", "--wait", *url],
        input=PNG,
        capture_output=True,
        timeout=LONG,
        check=True,
    )
    assert json.loads(piped.stdout) == as_file("image/png", None)
    as_json = run_cli("submit", "echo", "--file", "-", *url, "--wait", stdin="[1.50]")
    assert as_json.stdout == "[1.5]\n"
    for words, status, said in [
        (("echo", "--file", str(image)), 65, "cresset models"),
        (("turn", "--file", str(plain)), 65, "--content-type"),
        (("turn", "--file", str(image), "--content-type", "png"), 64, "such as image/png"),
        (("turn", "--json", "1", "--content-type", "image/png"), 64, "cannot be used with"),
        (("turn", "--file", str(tmp_path), "--content-type", "image/png"), 74, "directory"),
    ]:
        refused = run_cli("submit", *words, *url, check=False)
        assert (refused.returncode, refused.stdout) == (status, ""), (words, refused.stderr)
        assert said in refused.stderr, (words, refused.stderr)
