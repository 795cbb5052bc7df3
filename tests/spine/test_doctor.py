"""`cresset doctor` with a real Python that has torch, beside a real server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import torch
from conftest import Serve
from support.models import ECHO, write_model
from support.server import LONG, program


def test_a_running_server_and_its_torch_are_found_well(serve: Serve, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO).parent
    server = serve(models).wait_ready()
    command = [str(program()), "doctor", str(models), "--json", "--data-dir", str(server.data_dir)]
    ended = subprocess.run(
        [*command, "--listen", server.url.removeprefix("http://")],
        capture_output=True,
        text=True,
        timeout=LONG,
        cwd=tmp_path,
        check=False,
    )
    told = json.loads(ended.stdout)
    by_area = {line["area"]: line for line in told["lines"]}
    assert (ended.returncode, told["ok"]) == (0, True), ended.stdout
    assert f"torch {torch.__version__}" in by_area["model echo"]["text"]
    assert f"(pid {server.process.pid})" in by_area["port"]["text"]
    assert f"(pid {server.process.pid})" in by_area["lock"]["text"]
