"""Runs many seeds, several at a time, and says what came of them: `python -m faults --seeds 500`.

Each seed is a process of its own, so that a hang or a crash of the harness costs one seed, and is told as such.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faults.families import BROKER_FLEET, FAMILIES, FLEET
from faults.fleet.brokers import BROKERS
from faults.fleet.cluster import KINDS
from faults.how import FAULT_SECONDS, FLEET_SECONDS, How
from faults.run import run_seed

HERE = Path(__file__).resolve().parent
#: A run takes some ten seconds; one whose server is stuck waits a minute in several places.
SEED_SECONDS_MAX = 400
#: Offences against these are tasks that were lost, doubled, or stuck.
LOST = ("accepted_is_known", "payloads_are_there", "store_is_sound")
DOUBLED = ("ends_once", "one_task_per_key", "nothing_uncalled_for")
STUCK = ("accepted_ends", "settles", "stops_in_time", "starts_again")


def one(seed: int, how: How) -> dict[str, Any]:
    """One seed in its own process."""
    command = [sys.executable, "-m", "faults", "--seed", str(seed), "--json", "--cache", str(how.cache)]
    command += ["--keep", str(how.keep), "--durability", how.durability, "--seconds", str(how.fault_seconds)]
    if how.is_fleet:
        command += ["--fleet", "--store", how.store]
    if how.families:
        command += ["--families", ",".join(how.families)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SEED_SECONDS_MAX, check=False, cwd=HERE.parent
        )
    except subprocess.TimeoutExpired:
        return {"seed": seed, "broken": f"it took more than {SEED_SECONDS_MAX} s"}
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"seed": seed, "broken": f"the harness ended with {done.returncode}:\n{done.stderr[-2000:]}"}


def all_of(seeds: Iterable[int], jobs: int, how: How) -> Iterator[dict[str, Any]]:
    """The verdicts, in the order of the seeds, `jobs` at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(one, seed, how) for seed in seeds]
        for run in running:
            yield run.result()


def many(seeds: range, jobs: int, how: How) -> int:
    """All of them; the number of those in which something was found."""
    began = time.monotonic()
    bad = 0
    totals: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    for verdict in all_of(seeds, jobs, how):
        if "broken" in verdict:
            bad += 1
            rules["harness"] += 1
            print(f"seed {verdict['seed']}: {verdict['broken']}; again with: {how.replay(verdict['seed'])}", flush=True)
            continue
        totals.update(tasks=verdict["tasks"], faults=verdict["faults"])
        totals.update(
            {f"{'fleet' if how.is_fleet else 'disk and clock'}: {name}": hits for name, hits in verdict["hits"].items()}
        )
        families = ",".join(verdict["families"])
        found = f"{len(verdict['offences'])} OFFENCES" if verdict["offences"] else "ok"
        line = f"seed {verdict['seed']}: {found}, {verdict['tasks']} tasks, {verdict['faults']} events of faults"
        print(f"{line}, {verdict['seconds']:.1f} s [{families}]", flush=True)
        if verdict["offences"]:
            bad += 1
            rules.update({offence["rule"] for offence in verdict["offences"]})
            print(verdict["text"], flush=True)
    groups = {"lost": LOST, "doubled": DOUBLED, "stuck": STUCK}
    counts = {name: sum(rules[rule] for rule in group) for name, group in groups.items()}
    figures = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(
        f"{figures} of {len(seeds)} seeds; {bad} seeds with any offence {dict(rules)}; {time.monotonic() - began:.0f} s"
    )
    print(", ".join(f"{name} {count}" for name, count in totals.items()))
    return bad


def absolute(text: str) -> Path:
    """A path that stays the same in other folders."""
    return Path(text).absolute()


def named(text: str) -> list[str]:
    """Families of faults, with commas between them."""
    names = text.split(",")
    if unknown := sorted(set(names) - {*FAMILIES, *FLEET, *BROKER_FLEET}):
        known = f"{', '.join(FAMILIES)}; of a fleet {', '.join(dict.fromkeys([*FLEET, *BROKER_FLEET]))}"
        raise argparse.ArgumentTypeError(f"there is no family {unknown}; there are {known}")
    return names


def main() -> int:
    """Exit status 1 when anything was found."""
    parser = argparse.ArgumentParser(prog="faults", description="Seeded faults against the real program.")
    parser.add_argument("--seeds", type=int, default=500, help="run so many, from --first on (default: 500)")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="run this one, and print its history when something is found")
    at_a_time = "seeds at a time (default: two for each core, as runs mostly wait; of fleets one)"
    parser.add_argument("--jobs", type=int, help=at_a_time)
    home = HERE.parents[1] / "target" / "faults"
    parser.add_argument("--cache", type=absolute, default=home)
    parser.add_argument("--keep", type=absolute, default=home / "kept", help="where the folders of bad runs are kept")
    parser.add_argument("--families", type=named, help="break these instead of what the seed draws, with commas")
    parser.add_argument("--durability", default="fsync", help="`os` to see that power cuts are noticed")
    parser.add_argument("--fleet", action="store_true", help="gateways and workers on one store, or over a broker")
    which = "which database or broker (default: %(default)s)"
    parser.add_argument("--store", choices=[*KINDS, *BROKERS], default=KINDS[0], help=which)
    default = f"(default: {FAULT_SECONDS:.0f}, of a fleet {FLEET_SECONDS:.0f})"
    parser.add_argument("--seconds", type=float, help=f"break things for so long {default}")
    parser.add_argument("--json", action="store_true", help="with --seed: print the verdict as JSON")
    arguments = parser.parse_args()
    how = How(
        arguments.cache,
        arguments.keep,
        arguments.families,
        arguments.durability,
        arguments.seconds,
        is_fleet=arguments.fleet,
        store=arguments.store,
    )
    if arguments.seed is None:
        seeds = range(arguments.first, arguments.first + arguments.seeds)
        jobs = arguments.jobs or (os.cpu_count() or 1) * (1 if how.is_fleet else 2)
        print(f"seeds {seeds[0]} to {seeds[-1]}, {jobs} at a time", flush=True)
        return 1 if many(seeds, jobs, how) else 0
    verdict = run_seed(arguments.seed, how)
    if arguments.json:
        print(json.dumps(asdict(verdict)))
    else:
        print(verdict.text or f"seed {verdict.seed}: ok, {verdict.tasks} tasks, {verdict.faults} events of faults")
        print(f"faults drawn from: {', '.join(verdict.families)}; {verdict.seconds:.1f} s; hits {verdict.hits}")
    return 1 if verdict.offences else 0


if __name__ == "__main__":
    sys.exit(main())
