"""One measurement: the load generator against a running system."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from harness import bodies
from harness.systems import LOADGEN, Running

Cell = dict[str, Any]
"""What the load generator printed."""
SPARE_SECONDS = 60.0
"""Beyond its own duration, before a run of the generator is given up."""


def load(  # noqa: PLR0913 - a measurement has that many sides
    running: Running,
    work: Path,
    *mode: str,
    connections: int,
    duration: float,
    warmup: float,
    model: str | None = None,
) -> Cell:
    """Runs the generator in a mode (`closed`, or `open --rate N`, or `submit-wait`) and reads what it says.

    `model` is another than the system's own, served beside it.
    """
    system = running.system if model is None else running.system.on(model)
    sent = bodies.arguments(work, system.sent, system.binary)
    url = f"http://127.0.0.1:{running.port}{system.path}"
    name, *options = mode
    if name == "submit-wait":
        options += ["--result-path", system.result_path, "--poll-ms", str(system.poll_ms)]
    command = [str(LOADGEN), name, url, *sent, *options, "--pid", str(running.server.pid)]
    command += ["-c", str(connections), "-d", str(duration), "-w", str(warmup)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=duration + warmup + SPARE_SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout)
