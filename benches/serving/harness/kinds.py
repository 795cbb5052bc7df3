"""How each kind of scenario is measured: one turn of one system, at all of its levels."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.measure import Cell, load
from harness.process import answer
from harness.scenarios import Case
from harness.systems import SERVING, Place, Running, interpreter

OVERLOAD_CONNECTIONS = 4096
"""Requests on their way at once when there are too many: more than any server's own queue takes."""
SETTLING = 1 / 6
"""The warm-up of an overload, by its length: thousands of connections get their buffers, which is no leak."""
FILL_CONNECTIONS = 256
DEPTH_CONNECTIONS = 64
FILL_SECONDS = 300.0
MOMENT_TASKS = 30_000
"""More than is submitted in 0.3 s."""


@dataclass(frozen=True)
class Pace:
    """How long a measurement takes, in seconds."""

    duration: float
    warmup: float
    overload: float


Turn = dict[int, Cell]
"""Level -> what was measured."""


QUIET_CORES = 0.15
"""A machine is quiet while others keep no more than this busy."""


def wait_for_quiet(longest: float) -> None:
    """Waits until the machine has had nothing to do for a second, `longest` seconds at most."""
    end = time.monotonic() + longest
    while time.monotonic() < end:
        before, began = busy_seconds(), time.monotonic()
        time.sleep(1.0)
        if (busy_seconds() - before) / (time.monotonic() - began) <= QUIET_CORES:
            return


def busy_seconds() -> float:
    """The CPU seconds that this machine has worked: all but idle and waiting for a disk."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def turn(kind: str, case: Case, pace: Pace, place: Place) -> tuple[Turn, list[float] | None]:
    """One turn, and the numbers that the system answered to the first body."""
    if case.system.program == "bare":
        return {batch: bare(case, batch, pace, place) for batch in case.levels}, None
    if kind == "depth":
        return {depth: queue_depth(case, depth, pace, place) for depth in case.levels}, None
    with Running(case.system, place) as running:
        if kind == "overload":
            return {level: overload(running, level, pace, place) for level in case.levels}, running.sample
        cells: Turn = {}
        for level in case.levels:
            cells[level] = load(
                running, place.work, kind, connections=level, duration=pace.duration, warmup=pace.warmup
            )
        return cells, running.sample


def bare(case: Case, batch: int, pace: Pace, place: Place) -> Cell:
    """The model in loops, without a server."""
    system = case.system
    python = interpreter("models", [SERVING / "models" / "requirements.txt"])
    environ = {"BENCH_MODEL": system.model, "BENCH_WORKERS": str(system.workers), "BENCH_THREADS": str(system.threads)}
    environ |= {"OMP_NUM_THREADS": str(system.threads), "GOMP_SPINCOUNT": "0"}
    command = [str(python), str(SERVING / "peers" / "bare" / "serve.py"), str(batch), str(pace.duration)]
    done = subprocess.run(
        command, env=environ, cwd=place.work, capture_output=True, text=True, timeout=pace.duration + 240, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    rate = float(done.stdout)
    return {"goodput": rate, "rps": rate}


def overload(running: Running, level: int, pace: Pace, place: Place) -> Cell:
    """Capacity in closed loop; then twice that rate, open; then one caller alone, before and a second after."""

    def closed(connections: int, duration: float, warmup: float) -> Cell:
        return load(running, place.work, "closed", connections=connections, duration=duration, warmup=warmup)

    capacity = closed(level, pace.duration, pace.warmup)
    calm = closed(1, 1.0, 0.2)
    rate = 2 * capacity["goodput"]
    cell = load(
        running,
        place.work,
        "open",
        *("--rate", str(rate), "--drain", "0"),
        connections=OVERLOAD_CONNECTIONS,
        duration=pace.overload,
        warmup=pace.overload * SETTLING,
    )
    time.sleep(1.0)
    after = closed(1, 1.0, 0.0)
    return {**cell, "rate": rate, "capacity": capacity["goodput"], "calm_ms": spread(calm), "after_ms": spread(after)}


def spread(cell: Cell) -> dict[str, float | None]:
    """The latencies that are compared."""
    latency = cell["latency_ms"] or {}
    return {"p50": latency.get("p50"), "p99": latency.get("p99")}


def queue_depth(case: Case, depth: int, pace: Pace, place: Place) -> Cell:
    """Fills the queue of a model that stands still; then measures tasks of the one beside it, and further submits."""
    gate = place.work / "gate"
    gate.touch()
    with Running(case.system, place, {"BENCH_GATE": str(gate)}) as running:

        def submit(duration: float, connections: int = FILL_CONNECTIONS) -> Cell:
            return load(
                running,
                place.work,
                "closed",
                connections=connections,
                duration=duration,
                warmup=0.0,
                model="gated",
            )

        end = time.monotonic() + FILL_SECONDS
        while (left := depth - queued(running, "gated")) > 0:
            if time.monotonic() > end:
                raise RuntimeError(f"{left:,} of {depth:,} tasks could not be queued in {FILL_SECONDS:.0f} s")
            # A moment at a time where little is left, so as not to go far beyond.
            if left > MOMENT_TASKS:
                submit(5.0 if left > 10 * MOMENT_TASKS else 0.3)
            else:
                submit(0.02 if left > MOMENT_TASKS / 10 else 0.001, min(left, 32))
        cell = load(
            running,
            place.work,
            "submit-wait",
            connections=DEPTH_CONNECTIONS,
            duration=pace.duration,
            warmup=pace.warmup,
        )
        before = queued(running, "gated")
        submits = submit(pace.duration, DEPTH_CONNECTIONS)
        gate.unlink()
        return {**cell, "queued": before, "submits": submits}


def queued(running: Running, model: str) -> int:
    """Tasks of a model that wait."""
    status, body = answer(running.port, "GET", f"/v1/models/{model}")
    if status != 200:
        raise RuntimeError(f"{running.system.name}: {status} {body[:300]!r}")
    shown: dict[str, Any] = json.loads(body)
    return shown["queue"]["tasks"]
