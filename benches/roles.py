"""Tasks through a gateway and a worker, from submit to result, over the brokers that are named.

    python benches/roles.py mysql://user:password@127.0.0.1/bench postgresql://postgres@127.0.0.1/bench

Each broker is a database of its own, which is left as it is. The model gives back what it is given, in a process of
plain Python: what is measured is what the two servers and the database take. It needs `cargo build --release -p cresset
-p cresset-loadgen`, and prints one JSON object for each broker and number of connections.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
URL = re.compile(r"http://[0-9.]+:\d+")
LONGEST = 60.0
MODEL = "def predict(batch):\n    return batch\n"
SETTINGS = 'name = "echo"\n[batching]\nmax_batch_size = 64\n[environment]\npython = "{}"\n'


def begin(stack: ExitStack, folder: Path, *words: str) -> tuple[subprocess.Popen[str], Path]:
    """Starts a server, whose log goes to a file; it ends with the stack."""
    folder.mkdir()
    log = folder / "log"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "python")}
    with log.open("w") as file:
        process = subprocess.Popen(
            [*words, "--data-dir", str(folder / "data")], stderr=file, stdout=file, text=True, env=environment
        )
    stack.callback(lambda: (process.terminate(), process.wait(LONGEST)))
    return process, log


def waited_for(log: Path, what: re.Pattern[str]) -> str:
    """The first thing in a log that is like this."""
    limit = time.monotonic() + LONGEST
    while time.monotonic() < limit:
        if found := what.search(log.read_text()):
            return found.group()
        time.sleep(0.05)
    raise TimeoutError(f"{what.pattern} is not in {log.read_text()}")


def wait_ready(url: str) -> None:
    """Until the gateway has heard of the worker's model."""
    limit = time.monotonic() + LONGEST
    while time.monotonic() < limit:
        with urllib.request.urlopen(f"{url}/v1/models") as answer:  # noqa: S310  (it is our own)
            if any(model["state"] == "ready" for model in json.load(answer)["models"]):
                return
        time.sleep(0.1)
    raise TimeoutError("the gateway has heard of no worker")


def measured(arguments: argparse.Namespace, broker: str, connections: int) -> dict[str, Any]:
    """What the load generator says of a pair of servers."""
    program = str(arguments.programs / "cresset")
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        folder = Path(home)
        models = folder / "models" / "echo"
        models.mkdir(parents=True)
        (models / "model.py").write_text(MODEL)
        (models / "model.toml").write_text(SETTINGS.format(sys.executable))
        gateway, log = begin(
            stack, folder / "gateway", program, "gateway", "--broker", broker, "--listen", "127.0.0.1:0"
        )
        worker, _ = begin(stack, folder / "worker", program, "worker", str(models.parent), "--broker", broker)
        url = waited_for(log, URL)
        wait_ready(url)
        body = folder / "body"
        body.write_text(json.dumps({"input": "x" * arguments.bytes}))
        command = [str(arguments.programs / "cresset-loadgen"), "submit-wait", f"{url}/v1/models/echo/tasks"]
        command += ["--body", str(body), "--connections", str(connections), "--duration", str(arguments.seconds)]
        for process in (gateway, worker):
            command += ["--pid", str(process.pid)]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LONGEST + arguments.seconds)
        return json.loads(said.stdout)


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("brokers", nargs="+", help="mysql://... or postgresql://..., a database of its own each")
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--bytes", type=int, default=1024, help="of an input (default 1024)")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--programs", type=Path, default=REPOSITORY / "target" / "release")
    arguments = parser.parse_args()
    for broker in arguments.brokers:
        for connections in arguments.connections:
            scheme = broker.split(":", 1)[0]
            print(
                json.dumps({"broker": scheme, "connections": connections, **measured(arguments, broker, connections)})
            )


if __name__ == "__main__":
    main()
