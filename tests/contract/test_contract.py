"""The OpenAPI document and the server that serves it, held against each other by programs of others.

openapi-spec-validator reads the document; schemathesis makes a thousand requests from it, right ones and wrong ones,
and holds every answer to it: no 5xx, no status, header or body that the document does not have, nothing wrong accepted,
no method that it does not name.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cresset
import dev_env
import pytest
from conftest import Serve
from support.models import ECHO, PLUS_ONE, PLUS_ONE_TOML, write_model
from support.server import LONG, Server

#: Another in every round of a fuzzer by hand; one in every run of the tests, so that they say the same twice.
SEED = "20261127"
EXAMPLES = "25"
LONGEST = 240

DIES = """
import os

def predict(batch):
    os._exit(3)
"""

#: Streams that end when the caller hangs up, and what is no HTTP any more once it is opened.
ENDLESS = ("/v1/ws", "/v1/events")

#: Its body is lines, which a schema of JSON does not describe, and the program cannot write.
LINES = "POST /v1/batches"

#: Where a schema cannot say all that is asked of a request, the check that nothing right is refused means nothing.
BEYOND_A_SCHEMA = {
    "POST /v1/models/{model}/tasks": "what a right input is, a model says",
    "POST /v1/models/{model}/predict": "as above",
    "POST /v1/dead/{id}/replay": "as above",
    "POST /v1/webhooks/test": "addresses are looked up",
    "DELETE /v1/dead": "it wants one of two ways to say what",
    "GET /v1/tasks/{id}": "a duration is a text",
    "GET /v1/tasks/{id}/result": "as above",
    "GET /v1/tasks/{id}/events": "the id of an event is a text",
    "GET /v1/webhooks": "the id of a task is a text",
}


@pytest.fixture(scope="module")
def bin_dir() -> Path:
    """Where the programs are."""
    return Path(dev_env.build("contract", sys.executable)).parent


@pytest.fixture
def server(serve: Serve, tmp_path: Path) -> Server:
    """A server with a model of each kind."""
    models = tmp_path / "models"
    write_model(models, "echo", ECHO)
    write_model(models, "plus", PLUS_ONE, PLUS_ONE_TOML)
    write_model(models, "dies", DIES, "[limits]\nmax_attempts = 1\n")
    secrets = tmp_path / "secrets"
    secrets.write_text("whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" + "\n")
    secrets.chmod(0o600)
    return serve(models, "--webhooks-secrets-file", str(secrets)).wait_ready()


def document(server: Server, tmp_path: Path) -> Path:
    with server.http() as http:
        text = http.get("/openapi.json").raise_for_status().text
    path = tmp_path / "openapi.json"
    path.write_text(text)
    return path


def test_the_document_is_openapi(server: Server, tmp_path: Path, bin_dir: Path) -> None:
    path = document(server, tmp_path)
    assert json.loads(path.read_text())["openapi"].startswith("3.1")
    command = [str(bin_dir / "openapi-spec-validator"), "--errors", "all", str(path)]
    read = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
    assert read.returncode == 0, read.stdout + read.stderr


def test_the_server_is_as_its_document_says(server: Server, tmp_path: Path, bin_dir: Path) -> None:
    path = document(server, tmp_path)
    with cresset.Client(server.url) as client:
        done = client.submit("echo", {"a": 1})
        done.result(timeout=LONG)
        batch = client.submit_many("echo", range(3))
        dead = client.submit("dies", 1)
        assert dead.wait(timeout=LONG).status == "FAILURE"
    server.wait_ready()  # again: the model that died is back
    words = ["[[operations]]", 'include-path-regex = "^/v1/tasks/"', f'parameters = {{ "path.id" = "{done.id}" }}', ""]
    words += ["[[operations]]", 'include-path-regex = "^/v1/dead/"', f'parameters = {{ "path.id" = "{dead.id}" }}', ""]
    words += [
        "[[operations]]",
        'include-path-regex = "^/v1/batches/"',
        f'parameters = {{ "path.id" = "{batch.id}" }}',
        "",
    ]
    words += ["[[operations]]", 'include-path-regex = "^/v1/models/"', 'parameters = { "path.model" = "echo" }', ""]
    for name in BEYOND_A_SCHEMA:
        words += ["[[operations]]", f'include-name = "{name}"', "checks.positive_data_acceptance.enabled = false", ""]
    # A dead letter that is replayed takes its model down again, which is not ready for a moment: 503, as documented.
    words += ["[[operations]]", 'include-name = "GET /health/ready"', "checks.not_a_server_error.enabled = false", ""]
    settings = tmp_path / "schemathesis.toml"
    settings.write_text("\n".join(words))
    excluded = [flag for name in ENDLESS for flag in ("--exclude-path", name)]
    excluded += ["--exclude-name", LINES]
    command = [
        *(str(bin_dir / "schemathesis"), "--config-file", str(settings), "run", str(path), "--url", server.url),
        *("--seed", SEED, "-n", EXAMPLES, "--request-timeout", "20", "--no-color", *excluded),
    ]
    told = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False, cwd=tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr + server.log[-4000:]
    assert "generated" in told.stdout, told.stdout
    # Nothing of it has cost it its footing.
    with cresset.Client(server.url) as client:
        assert client.submit("echo", "still").result(timeout=LONG) == "still"
