"""The serving benchmark: Cresset and its peers on this machine, in rounds that take turns.

    python3 benches/serving/run.py                      a few minutes: the small network, the main peers
    python3 benches/serving/run.py --full               everything
    python3 benches/serving/run.py --scenario embed     what its name contains; --system likewise; both may be repeated
    python3 benches/serving/run.py --full --write-docs  and the tables go into docs/performance.md

Needs `cargo build --release -p cresset -p cresset-loadgen` first; `make bench` does that. Peers come from PyPI into
environments in the user's cache. Everything runs on 127.0.0.1, on free ports, and is stopped at the end. A peer that
cannot be measured is left out, and said so. Results are printed and kept in target/bench/.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from harness import bodies, document, machine
from harness.environments import REPOSITORY
from harness.kinds import Pace, turn, wait_for_quiet
from harness.process import StartError, favour, nothing_left_behind
from harness.results import Results
from harness.scenarios import OVERLOAD, SCENARIOS, Case, Scenario
from harness.systems import CRESSET, LOADGEN, Place
from harness.tables import tables

OUT = REPOSITORY / "target" / "bench"
SHORT, SHORT_ROUNDS = Pace(duration=1.5, warmup=0.5, overload=5.0), 2
FULL, FULL_ROUNDS = Pace(duration=4.0, warmup=1.0, overload=30.0), 3
TOLERANCE = 1e-3
"""How far two systems' numbers for one input may be apart."""


def say(text: str) -> None:
    """A line for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def chosen(options: argparse.Namespace) -> list[tuple[Scenario, list[Case]]]:
    """What is to be measured."""
    found: list[tuple[Scenario, list[Case]]] = []
    named: list[str] = options.scenario or []
    systems: list[str] = options.system or []
    for scenario in SCENARIOS:
        if not (any(name in scenario.name for name in named) if named else options.full or scenario.short):
            continue
        cases = [case for case in scenario.cases if options.full or named or case.short]
        if systems:
            cases = [case for case in cases if any(name.lower() in case.system.name.lower() for name in systems)]
        if cases:
            found.append((scenario, cases))
    return found


def label(scenario: Scenario, case: Case) -> str:
    """A system's name in the results: with its model where a scenario has several."""
    return f"{case.system.name} ({case.system.model})" if scenario.name == OVERLOAD else case.system.name


def run(wanted: list[tuple[Scenario, list[Case]]], rounds: int, pace: Pace, place: Place, patience: float) -> Results:
    """Every scenario: in each round each system has one turn."""
    results = Results()
    given_up: set[str] = set()
    for scenario, cases in wanted:
        samples: dict[tuple[str, bool], list[float]] = {}
        turns = min(rounds, scenario.rounds or rounds)
        for number in range(turns):
            # Every other round goes backwards, so that nobody always follows the same neighbour.
            for case in cases if number % 2 == 0 else reversed(cases):
                name = label(scenario, case)
                if (key := f"{scenario.name}: {name}") in given_up:
                    continue
                wait_for_quiet(patience)
                began = time.monotonic()
                try:
                    cells, sample = turn(scenario.kind, case, pace, place)
                    same(samples, case, sample)
                except (StartError, RuntimeError, OSError) as error:
                    say(f"skipped: {key}: {error}")
                    given_up.add(key)
                    continue
                for level, cell in cells.items():
                    results.add(scenario.name, name, level, cell)
                rates = ", ".join(f"{level}: {cell['goodput']:,.0f}/s" for level, cell in cells.items())
                turn_of = f"{scenario.name}, round {number + 1} of {turns}, {name}"
                say(f"{turn_of}: {rates} ({time.monotonic() - began:.0f} s)")
                for level, cell in cells.items():
                    if cell.get("errors") and scenario.name != OVERLOAD:
                        say(f"  {cell['errors']} errors at {level}, the first: {cell['first_error']}")
    return results


def same(samples: dict[tuple[str, bool], list[float]], case: Case, sample: list[float] | None) -> None:
    """Fails when a system's answer to the first body is not what the others answered."""
    if sample is None or case.system.program == "ceiling":
        return
    first = samples.setdefault((case.system.model, case.system.binary), sample)
    close = len(first) == len(sample) and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in zip(first, sample, strict=True)
    )
    if not close:
        raise RuntimeError(f"{case.system.name} answers other numbers than the others: {sample[:5]}, not {first[:5]}")


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="every scenario and peer, longer, three rounds")
    parser.add_argument("--scenario", action="append", help="only scenarios whose name contains this")
    parser.add_argument("--system", action="append", help="only systems whose name contains this")
    parser.add_argument("--rounds", type=int, help="how often each system has its turn")
    parser.add_argument("--duration", type=float, help="seconds of each measurement")
    parser.add_argument("--favour", action="store_true", help="as root, on a busy machine: measured processes go first")
    parser.add_argument("--patience", type=float, default=0.0, help="seconds to wait for a quiet machine before a turn")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--from", dest="source", type=Path, help="measure nothing: take the results of this file")
    return parser.parse_args()


def measured(wanted: argparse.Namespace) -> dict[str, Any]:
    """Runs it all, and keeps it."""
    for program in (CRESSET, LOADGEN):
        if not program.exists():
            raise SystemExit(f"error: no {program.name}: cargo build --release -p cresset -p cresset-loadgen")
    pace, rounds = (FULL, FULL_ROUNDS) if wanted.full else (SHORT, SHORT_ROUNDS)
    if wanted.duration:
        pace = replace(pace, duration=wanted.duration)
    if wanted.favour:
        favour(os.getpid())
    rounds = wanted.rounds or rounds
    logs = OUT / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["python3", "benches/serving/run.py", *sys.argv[1:]]),
        "commit": machine.commit(),
        "hardware": machine.hardware(),
        "rounds": rounds,
        "pace": vars(pace),
    }
    # Beside the build: on a disk, as a store's would be, and not in a /tmp that may be memory.
    with nothing_left_behind(), tempfile.TemporaryDirectory(prefix="run-", dir=OUT) as work:
        place = Place(Path(work), logs, favoured=wanted.favour)
        bodies.write(place.work)
        results = run(chosen(wanted), rounds, pace, place, wanted.patience)
    about["other_cores"] = machine.disturbance(results)
    about["versions"] = machine.versions()
    return {**about, "scenarios": results.scenarios}


def main() -> None:
    """Measures, prints, keeps, and writes what was asked for."""
    wanted = options()
    if wanted.source:
        kept = json.loads(wanted.source.read_text())
    else:
        kept = measured(wanted)
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
        for path in (OUT / f"serving-{stamp}.json", OUT / "serving.json"):
            path.write_text(json.dumps(kept, indent=1) + "\n")
        say(f"kept in {OUT / f'serving-{stamp}.json'}")
    print("\n".join([*document.about(kept), "", *tables(Results(kept["scenarios"]))]))
    if wanted.write_docs:
        document.write(kept)


if __name__ == "__main__":
    main()
