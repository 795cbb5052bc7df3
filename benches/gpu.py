"""ResNet-18 on a GPU behind Cresset, beside a bare loop on the same GPU: what serving costs where the model is quick.

    python benches/gpu.py [--program target/release/cresset] [--loadgen target/release/cresset-loadgen] [--rounds 3]

Needs a CUDA device, an interpreter with a torch that uses it, and both programs built. Each round runs the bare loops
and then the server, so that a ratio is taken between neighbours; the median over the rounds is printed, with p50 and
p99 of the median round. The bare loop keeps its input in pinned memory and copies it to the device and the answer back
for every batch, as any server must.
"""

from __future__ import annotations

import argparse
import array
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
MODEL = REPOSITORY / "benches" / "serving" / "models" / "resnet18"
URL = re.compile(r"http://[0-9.]+:\d+")
BATCH = 32
PICTURES = 8
LEVELS = (1, 64, 256)
SECONDS = 3.0
BARE = """
import json, sys, time, torch
sys.path.insert(0, sys.argv[1])
from net import network
side, batch, seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
net = network().to("cuda:0")
host = torch.randn(batch, 3, side, side).pin_memory()
back = torch.empty(batch, 1000).pin_memory()
def once():
    back.copy_(net(host.to("cuda:0", non_blocking=True)), non_blocking=True)
    torch.cuda.synchronize()
with torch.inference_mode():
    for length in (1.0, seconds):
        began, count, took = time.perf_counter(), 0, []
        while (now := time.perf_counter()) - began < length:
            once()
            took.append(time.perf_counter() - now)
            count += batch
        rate = count / (time.perf_counter() - began)
took.sort()
print(json.dumps({"rate": rate, "p50": took[len(took) // 2] * 1e3, "p99": took[int(len(took) * 0.99)] * 1e3}))
"""


def bare(side: int, batch: int) -> dict[str, float]:
    """Items a second of a loop with no server, and the milliseconds of its batches."""
    command = [sys.executable, "-c", BARE, str(MODEL), str(side), str(batch), str(SECONDS)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


class Served:
    """One server on the model, with so many instances on the one device."""

    def __init__(self, program: Path, folder: Path, side: int, instances: int) -> None:
        """Starts it, and waits until it is ready."""
        model = folder / "resnet18"
        shutil.copytree(MODEL, model, ignore=shutil.ignore_patterns("__pycache__"))
        toml = (model / "model.toml").read_text()
        toml = toml.replace("[3, 64, 64]", f"[3, {side}, {side}]").replace(
            "max_batch_size = 32", f"max_batch_size = {BATCH}"
        )
        toml = toml.replace("count = 2", f'count = {instances}\ndevices = ["cuda:0"]')
        (model / "model.toml").write_text(f'{toml}\n[environment]\npython = "{sys.executable}"\n')
        command = [program, "serve", model, "--listen", "127.0.0.1:0", "--data-dir", folder / "data"]
        self.process = subprocess.Popen([str(c) for c in command], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.url, ready = "", 0
        for line in self.process.stderr:
            if found := URL.search(line):
                self.url = found.group()
            ready += "load_ms=" in line
            if ready == instances:
                break
        else:
            raise RuntimeError("the model did not come up")
        self.drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=sys.stderr)

    def load(self, loadgen: Path, bodies: list[Path], connections: int) -> dict[str, Any]:
        """Closed loop; the load generator's report."""
        octets = "application/octet-stream"
        files = [word for body in bodies for word in ("--body", str(body))]
        command = [
            str(loadgen), "closed", f"{self.url}/v1/models/resnet18/predict", *files,
            "--content-type", octets, "--header", f"Accept: {octets}", "--threads", "2",
            "-c", str(connections), "-d", str(SECONDS), "-w", "1", "--pid", str(self.process.pid),
        ]  # fmt: skip
        report: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert report["errors"] == 0, report
        return report

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait(60)
        self.drain.wait(60)


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=REPOSITORY / "target" / "release" / "cresset")
    parser.add_argument("--loadgen", type=Path, default=REPOSITORY / "target" / "release" / "cresset-loadgen")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--instances", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, float, float, float]]] = {}
    for _ in range(options.rounds):
        for side in options.sides:
            loops = {batch: bare(side, batch) for batch in (1, BATCH)}
            for batch, found in loops.items():
                row = (found["rate"], 1.0, found["p50"], found["p99"])
                rows.setdefault(f"{side}: bare loop, batch {batch}", []).append(row)
            with tempfile.TemporaryDirectory() as name:
                numbers = random.Random(1)  # noqa: S311 - inputs, not secrets
                bodies = [Path(name) / f"{i}.f32" for i in range(PICTURES)]
                for body in bodies:
                    body.write_bytes(array.array("f", (numbers.gauss(0, 1) for _ in range(3 * side * side))).tobytes())
                for instances in options.instances:
                    served = Served(options.program, Path(name) / str(instances), side, instances)
                    try:
                        for level in LEVELS:
                            got = served.load(options.loadgen, bodies, level)
                            limit = loops[1 if level == 1 else BATCH]["rate"]
                            row = (got["rps"], got["rps"] / limit, got["latency_ms"]["p50"], got["latency_ms"]["p99"])
                            rows.setdefault(f"{side}: {instances} instances, {level} connections", []).append(row)
                    finally:
                        served.stop()
    print(f"{'':40} {'items/s':>9} {'by bare':>8} {'p50 ms':>8} {'p99 ms':>8}")
    for name, found in rows.items():
        rate, ratio, p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{name:40} {rate:9,.0f} {ratio:8.2f} {p50:8.2f} {p99:8.2f}")


if __name__ == "__main__":
    main()
