"""Files in and out, sent by curl as people send them, through a real model; also over a death of the server."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
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


#: Says where its file is and waits until it may go on; dies if it is told so.
HELD = """
import os, pathlib, signal, time

def predict(batch):
    for file in batch:
        at = pathlib.Path(os.environ["AT"])
        (at / "seen.part").write_text(str(file.path))
        (at / "seen.part").rename(at / "seen")
        while not (at / "go").exists():
            time.sleep(0.01)
    return [{"bytes": file.path.stat().st_size, "ending": file.path.suffix} for file in batch]
"""


def test_a_model_gets_files_as_paths_and_none_is_left_behind(serve: Serve, tmp_path: Path) -> None:
    settings = f"""
        files = "path"
        content_types = ["image/*"]
        [batching]
        max_batch_size = 1
        [environment.variables]
        AT = "{tmp_path}"
    """
    models, seen, go = write_model(tmp_path / "models", "held", HELD, settings), tmp_path / "seen", tmp_path / "go"
    image = tmp_path / "a.png"
    image.write_bytes(PNG)
    server = serve(models).wait_ready()
    files = server.data_dir / "model-files"

    def spooled() -> Path:
        """Where the model has its file, once it has one."""
        server.wait(lambda _: seen.exists(), "at the file")
        path = Path(seen.read_text())
        seen.unlink()
        assert path.read_bytes() == PNG and files in path.parents, path
        assert path.stat().st_mode & 0o077 == 0 and path.parent.stat().st_mode & 0o077 == 0
        return path

    def left() -> list[Path]:
        return [path for path in files.rglob("*") if path.is_file()]

    form = ("-F", f"photo=@{image};type=image/png")
    refused = curl("-F", f"photo=@{image};type=text/plain", f"{server.url}/v1/models/held/tasks")
    assert (refused["status"], refused["code"]) == (415, "unsupported_media_type")
    assert "`input.photo` is `text/plain`" in refused["detail"] and "`image/*`" in refused["detail"]
    ended = run_cli(
        "submit", "held", "--file", str(image), "--content-type", "text/plain", "--url", server.url, check=False
    )
    assert ended.returncode == 65 and "takes files of `image/*`" in ended.stderr

    with cresset.Client(server.url) as client:
        first = client.submit("held", cresset.File(PNG, "image/png", "a.png"))
        path = spooled()
        [pid] = server.instance_pids("held")
        os.kill(pid, signal.SIGKILL)
        again = spooled()  # a SIGKILL from outside is forgiven: the task runs once more, in another process
        assert again != path
        server.wait(lambda _: not path.exists(), "rid of the dead process's file")
        go.touch()
        assert first.result(timeout=60) == {"bytes": len(PNG), "ending": ".png"}
        server.wait(lambda _: not left(), "rid of the file")
        in_json = client.submit("held", {"$file": {"content_type": "text/plain", "filename": None, "data": ""}})
        with pytest.raises(cresset.TaskFailed, match="the model takes image"):
            in_json.result(timeout=60)
        assert (
            curl(*form, f"{server.url}/v1/models/held/predict")["code"] == "model_error"
        )  # a form is a dict: no `.path`

        go.unlink()
        client.submit("held", cresset.File(PNG, "image/png", "a.png"))
        path = spooled()
    # With a store of its own it may have the same data folder.
    beside = serve(models, "--store", f"sqlite://{tmp_path / 'beside.db'}").wait_ready()
    assert path.exists(), "a server takes away what another one has in use"
    beside.stop()
    server.kill()
    go.touch()
    serve(models).wait_ready()
    assert not path.exists(), "the next server clears what a dead one left"
