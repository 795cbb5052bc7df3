"""How each kind of scenario is measured: one turn of one system, at all of its levels."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.measure import Cell, load
from harness.process import answer
from harness.scenarios import Case
from harness.systems import SERVING, Running, interpreter

OVERLOAD_CONNECTIONS = 4096
"""Requests on their way at once when there are too many: more than any server's own queue takes."""
FILL_CONNECTIONS = 256
DEPTH_CONNECTIONS = 64
FILL_SECONDS = 300.0


@dataclass(frozen=True)
class Pace:
    """How long a measurement takes, in seconds."""

    duration: float
    warmup: float
    overload: float


@dataclass(frozen=True)
class Place:
    """Where files go."""

    work: Path
    logs: Path


Turn = dict[int, Cell]
"""Level -> what was measured."""


def turn(kind: str, case: Case, pace: Pace, place: Place) -> tuple[Turn, list[float] | None]:
    """One turn, and the numbers that the system answered to the first body."""
    if case.system.program == "bare":
        return {batch: bare(case, batch, pace, place) for batch in case.levels}, None
    if kind == "depth":
        return {depth: queue_depth(case, depth, pace, place) for depth in case.levels}, None
    with Running(case.system, place.work, place.logs) as running:
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
        warmup=pace.warmup,
    )
    time.sleep(1.0)
    after = closed(1, 1.0, 0.0)
    return {**cell, "rate": rate, "capacity": capacity["goodput"], "calm_ms": spread(calm), "after_ms": spread(after)}


def spread(cell: Cell) -> dict[str, float | None]:
    """The latencies that are compared."""
    latency = cell["latency_ms"] or {}
    return {"p50": latency.get("p50"), "p99": latency.get("p99")}


def queue_depth(case: Case, depth: int, pace: Pace, place: Place) -> Cell:
    """Fills the queue behind a closed gate, opens it, and measures tasks that go before the others."""
    gate = place.work / "gate"
    gate.touch()
    with Running(case.system, place.work, place.logs, {"BENCH_GATE": str(gate)}) as running:
        filling = time.monotonic()
        fill: list[float] = []
        while (left := depth - queued(running)) > 0 and time.monotonic() - filling < FILL_SECONDS:
            # A little at a time where little is left, so as not to go far beyond.
            seconds, connections = (5.0, FILL_CONNECTIONS) if left > 200_000 else (0.2, min(left, FILL_CONNECTIONS))
            cell = load(
                running,
                place.work,
                "closed",
                connections=connections,
                duration=seconds if left > 1000 else 0.001,
                warmup=0.0,
                lines="low",
            )
            fill.append(cell["goodput"])
        gate.unlink()

        def measured(duration: float) -> Cell:
            return load(
                running,
                place.work,
                "submit-wait",
                connections=DEPTH_CONNECTIONS,
                duration=duration,
                warmup=0.0,
                lines="mlp",
            )

        measured(pace.warmup)
        before = queued(running)
        cell = measured(pace.duration)
        after = queued(running)
        # Batches with room take from the others too: those were paid for as well.
        tasks = cell["ok"] + max(0, before - after)
        cpu = {**cell["cpu"], "us_per_request": cell["cpu"]["seconds"] * 1e6 / max(1, tasks)}
        return {**cell, "cpu": cpu, "queued_before": before, "queued_after": after, "fill_per_s": fill}


def queued(running: Running) -> int:
    """Tasks of the model that wait."""
    status, body = answer(running.port, "GET", f"/v1/models/{running.system.model}")
    if status != 200:
        raise RuntimeError(f"{running.system.name}: {status} {body[:300]!r}")
    model: dict[str, Any] = json.loads(body)
    return model["queue"]["tasks"]
