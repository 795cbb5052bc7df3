"""What gateways and workers get done with a broker between them: submit to result, tasks a second.

    python benches/brokers.py --broker redis://127.0.0.1:6379/9 [--tasks 100000] [--workers 1] [--rounds 3]
    python benches/brokers.py --broker amqp://guest:guest@127.0.0.1/bench --program target/release/cresset

It starts a gateway with a store of its own and workers with an echoing model, and submits the tasks in one batch
(`POST /v1/batches`). The time is from the first line to the last result that the gateway has recorded. The broker
should be empty and used by nobody else; `--broker postgresql://...` measures the same without one.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parents[1]
URL = re.compile(r"http://[0-9.]+:\d+")
LONG = 600.0
MODEL = "def predict(batch):\n    return batch\n"


def write_model(folder: Path, batch: int) -> Path:
    """A model that gives back what it is given."""
    folder.mkdir(parents=True)
    toml = f'name = "echo"\n[batching]\nmax_batch_size = {batch}\n[limits]\nmax_queue = 1000000\n'
    (folder / "model.toml").write_text(f'{toml}[environment]\npython = "{sys.executable}"\n')
    (folder / "model.py").write_text(MODEL)
    return folder


def begin(stack: ExitStack, program: Path, data: Path, *words: str) -> str:
    """Starts one server and gives its address."""
    data.mkdir()
    log = (data / "log").open("w+")
    command = [str(program), *words, "--data-dir", str(data), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    until = time.monotonic() + LONG
    while time.monotonic() < until and process.poll() is None:
        if found := URL.search((data / "log").read_text()):
            return found.group()
        time.sleep(0.05)
    raise RuntimeError((data / "log").read_text())


def until_ready(client: httpx.Client, workers: int) -> None:
    """Waits until all workers have said that they are."""
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        answer = client.get("/v1/models/echo")
        if answer.status_code == 200 and sum(one["ready"] for one in answer.json()["workers"] or []) == workers:
            return
        time.sleep(0.05)
    raise RuntimeError("the workers did not come up")


def lines(count: int, size: int) -> Iterator[bytes]:
    """The body, in pieces."""
    text = "x" * size
    for first in range(0, count, 1000):
        numbers = range(first, min(first + 1000, count))
        yield "".join(f'{{"input":[{number},"{text}"]}}\n' for number in numbers).encode()


def measure(client: httpx.Client, tasks: int, size: int) -> float:
    """Tasks a second."""
    began = time.perf_counter()
    head = {"content-type": "application/x-ndjson"}
    accepted = client.post("/v1/batches", params={"model": "echo"}, content=lines(tasks, size), headers=head)
    accepted.raise_for_status()
    place = f"/v1/batches/{accepted.json()['batch_id']}"
    while True:
        batch = client.get(place).raise_for_status().json()
        counts = batch["counts"]
        if counts["success"] + counts["failure"] + counts["revoked"] >= tasks:
            took = time.perf_counter() - began
            if counts["success"] != tasks:
                raise RuntimeError(f"not all have succeeded: {batch}")
            return tasks / took
        time.sleep(0.02)


def main() -> None:
    """Prints a line for each round, and the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=REPOSITORY / "target" / "release" / "cresset")
    parser.add_argument("--broker", required=True)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--bytes", type=int, default=16, help="of an input, about")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made)
        models = write_model(folder / "echo", said.batch)
        url = begin(stack, said.program, folder / "gateway", "gateway", "--broker", said.broker)
        for number in range(said.workers):
            begin(stack, said.program, folder / f"worker-{number}", "worker", str(models), "--broker", said.broker)
        with httpx.Client(base_url=url, timeout=LONG) as client:
            until_ready(client, said.workers)
            measure(client, min(said.tasks, 2000), said.bytes)
            rates = []
            for number in range(said.rounds):
                rates.append(measure(client, said.tasks, said.bytes))
                print(f"round {number + 1}: {rates[-1]:,.0f} tasks/s", flush=True)
            print(f"median: {statistics.median(rates):,.0f} tasks/s by {said.broker.split('://', maxsplit=1)[0]}")


if __name__ == "__main__":
    main()
