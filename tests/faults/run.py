"""One seed from start to verdict: a fresh server, callers, faults, mending, waiting, stopping, judging."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from faults import shim
from faults.aftermath import Aftermath
from faults.checker import Offence, check, report
from faults.client import Client
from faults.disk import SmallDisk
from faults.families import drawn, possible, table_of
from faults.fleet.broker_run import BrokerRun
from faults.fleet.brokers import BROKERS
from faults.fleet.run import FleetRun
from faults.history import Event, History, Wrong, render
from faults.how import How
from faults.injector import Injector
from faults.models import NOTES, TRIES, runs_in, write_models
from faults.powercut import Journal
from faults.process import LONG, MARK, Process
from faults.proxy import Proxy
from faults.ready import wait_instances
from faults.workload import Workload

#: Reports in full; of more of one kind, the number is enough.
REPORTS_MAX = 6


@dataclass
class Verdict:
    """What a run found."""

    seed: int
    families: list[str]
    tasks: int
    faults: int
    seconds: float
    hits: dict[str, int]
    offences: list[Offence] = field(default_factory=list[Offence])
    text: str = ""


def run_seed(seed: int, how: How) -> Verdict:
    """Runs one seed in a folder of its own, which is kept when something was found."""
    families = possible(how.families or drawn(seed, table_of(how.store, is_fleet=how.is_fleet)), how.store)
    began = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix=f"faults-{seed}-"))
    history = History()
    fleet = BrokerRun if how.store in BROKERS else FleetRun
    run = (fleet if how.is_fleet else _Run)(seed, home, history, families, how)
    try:
        run.go()
    except Exception as error:
        # The harness cannot go on; what the history has by then may say why.
        history.tell(Wrong(time.monotonic(), 8, "run_comes_to_its_end", f"{type(error).__name__}: {error}"))
    finally:
        run.close()
    for ran in runs_in(home / "notes"):
        history.tell(ran)
    events = history.events()
    offences = check(events)
    verdict = Verdict(
        seed=seed,
        families=families,
        tasks=len(run.workload.tasks),
        faults=sum(type(event).__name__ == "Fault" for event in events),
        seconds=time.monotonic() - began,
        hits=run.hits,
        offences=offences,
    )
    if offences:
        verdict.text = _text(verdict, events, how)
        kept = how.keep / f"{how.store if how.is_fleet else 'seed'}-{seed}"
        shutil.rmtree(kept, ignore_errors=True)
        how.keep.mkdir(parents=True, exist_ok=True)
        (home / "verdict.txt").write_text(verdict.text)
        (home / "history.txt").write_text(render(events, min(event.at for event in events)))
        shutil.move(home, kept)
        verdict.text += f"\nthe run's folder (logs, data, history.txt) is kept: {kept}"
    shutil.rmtree(home, ignore_errors=True)
    return verdict


def _text(verdict: Verdict, events: list[Event], how: How) -> str:
    lines = [f"seed {verdict.seed}: {len(verdict.offences)} offences; again with: {how.replay(verdict.seed)}"]
    lines += [report(offence, events) for offence in verdict.offences[:REPORTS_MAX]]
    counts = Counter(f"promise {offence.promise}, {offence.rule}" for offence in verdict.offences)
    lines += [f"{count} x {name}" for name, count in counts.items()]
    return "\n\n".join(lines)


class _Run:
    def __init__(self, seed: int, home: Path, history: History, families: list[str], how: How) -> None:
        self._how = how
        self._history = history
        self._home = home
        self.hits: dict[str, int] = {}
        self._small_disk = SmallDisk(home / "disk") if "small_disk" in families else None
        data = home / "disk" / "data" if self._small_disk else home / "data"
        tries, temporary = home / "tries", home / "tmp"
        for folder in (data, tries, temporary):
            folder.mkdir()
        self._shim = shim.Shim(shim.built(how.cache / "faults"), home / "control", data)
        environment = {
            MARK: f"{os.getpid()}-{seed}",
            NOTES: str(home / "notes"),
            TRIES: str(tries),
            "TMPDIR": str(temporary),
            **self._shim.environment,
            **({} if how.durability == "fsync" else {"CRESSET_DURABILITY": how.durability}),
        }
        models = write_models(home / "models")
        self._process = Process(["serve", str(models)], data, home / "server.log", environment, how.cache / "cache")
        if "power" in families:
            self._process.journal = Journal(home / "undo", data)
        self._proxy = Proxy(self._process.address, seed)
        rng = random.Random(f"{seed} doors")
        doors = [[self._process.address if rng.random() < 0.6 else self._proxy.address] for _ in range(4)]
        self.workload = Workload(history, doors, seed)
        self.injector = Injector(self._process, self._shim, history, seed, families, self._small_disk)
        self._aftermath = Aftermath(self._process, history)

    def go(self) -> None:
        self._process.start()
        assert self._process.wait_open(), "the server did not start"
        client = Client([self._process.address], self._history)
        wait_instances(client)
        baseline = self._process.descriptors()
        self.workload.start()
        try:
            self.injector.run(self._how.fault_seconds)
        finally:
            self.workload.stop()
        if not self.workload.settle(client, time.monotonic() + LONG):
            self._history.tell(
                Wrong(time.monotonic(), 8, "settles", "a submit is not accepted after all faults are over")
            )
        self._aftermath.wait_all_ended(client, self.workload.tasks)
        wait_instances(client)
        client.close()
        self._aftermath.wait_resting(baseline)
        self._aftermath.stop()
        self._aftermath.look_at_store(final=False)
        # Once more, to see that what had ended stays as it is.
        self._process.start()
        assert self._process.wait_open(), "the server did not start again after a clean stop"
        self._aftermath.wait_all_ended(client, self.workload.tasks)
        client.close()
        self._aftermath.wait_swept()
        self._aftermath.stop()
        self._aftermath.look_at_store(final=True)
        if left := sorted(path.name for path in (self._home / "tmp").iterdir()):
            self._history.tell(Wrong(time.monotonic(), 8, "nothing_left_over", f"temporary files: {left}"))

    def close(self) -> None:
        self.hits = self._shim.hits
        self._process.close()
        self._proxy.close()
        self._shim.close()
        if self._small_disk is not None:
            self._keep_data()
            self._small_disk.close()

    def _keep_data(self) -> None:
        """Out of the small disk, which goes, and into the run's folder."""
        shutil.copytree(self._process.data, self._home / "data")
