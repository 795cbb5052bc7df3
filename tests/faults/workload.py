"""What callers do while things break: submit in every way, look, wait, cancel, and send again what was not answered."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from faults.client import TIMEOUT, Address, Client
from faults.history import Asked, History, Plan
from faults.models import MODELS, expected_of

#: Kind of input, to how often it is drawn. `die` is bounded by `DEATHS_MAX`.
KINDS = {"echo": 55, "sleep": 14, "raise": 7, "retry": 7, "give_up": 1, "large": 7, "large_out": 6, "die": 3}
#: Each costs its model's process three lives, and each life doubles the wait for the next.
DEATHS_MAX = 2
#: A caller whose request got no answer waits so long before the next one: the server is down.
BREATH = 0.03
#: Between two requests of one caller, at most: the machine has other runs to carry.
PACE = 0.02
#: Requests of one caller at most, so that a run on a fast machine is no longer than on a slow one.
REQUESTS_MAX = 400
KEYED = 0.6
#: More than the three that model.toml allows.
NEVER = 99


@dataclass(frozen=True)
class Sent:
    """A plan, and what the input says beside it."""

    plan: Plan
    times: int
    seconds: float


@dataclass(frozen=True)
class Manner:
    """How callers go about it."""

    #: Seconds between two requests of one caller, at most.
    pace: float = PACE
    #: Seconds that one waits for an answer.
    timeout: float = TIMEOUT
    kinds: Mapping[str, int] = field(default_factory=lambda: KINDS)
    #: The longest that a `sleep` takes, in seconds: a batch of nothing else is done in its time.
    sleep_max: float = 0.15


@dataclass
class House:
    """What was asked for at servers that know of each other's tasks: nobody asks for it elsewhere."""

    tasks: list[str] = field(default_factory=list[str])
    unanswered: list[Sent] = field(default_factory=list[Sent])
    answered: list[Sent] = field(default_factory=list[Sent])


class Workload:
    """Several callers at once, for a time."""

    def __init__(
        self,
        history: History,
        doors: list[list[Address]],
        seed: int,
        manner: Manner | None = None,
        houses: Sequence[int] | None = None,
    ) -> None:
        """`doors`: those that each caller uses, the first one first. `houses`: whose they are; all one's by default."""
        self._history = history
        self._doors = doors
        self._seed = seed
        self._manner = manner or Manner()
        self._ops = itertools.count()
        self._lock = threading.Lock()
        whose = houses or [0] * len(doors)
        self._houses = {house: House() for house in whose}
        self._deaths = DEATHS_MAX
        self._stop = threading.Event()
        self._trouble: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._call, number, own, self._houses[house]), daemon=True)
            for number, (own, house) in enumerate(zip(doors, whose, strict=True))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends it; raises what went wrong in the harness itself."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a caller hangs"
        if self._trouble:
            raise self._trouble[0]

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            self._trouble.append(error)

    def _call(self, number: int, doors: list[Address], house: House) -> None:
        rng = random.Random(f"{self._seed} caller {number}")
        client = Client(doors, self._history, self._manner.timeout)
        for _ in range(REQUESTS_MAX):
            if self._stop.wait(rng.uniform(0, self._manner.pace)):
                break
            self._one(rng, client, house)
        client.close()

    def _one(self, rng: random.Random, client: Client, house: House) -> None:
        draw = rng.random()
        task = self._any_task(rng, house)
        if draw < 0.5 or task is None:
            self._submit(client, self._plan(rng), house)
        elif draw < 0.62:
            again = self._any_sent(rng, house)
            if again is not None:
                self._submit(client, again, house)
        elif draw < 0.8:
            client.read(task)
        elif draw < 0.92:
            client.read(task, wait=f"{rng.uniform(0.05, 0.8):.2f}s")
        else:
            client.cancel(task)

    def _submit(self, client: Client, sent: Sent, house: House) -> None:
        answer = client.submit(sent.plan, sent.times, sent.seconds)
        with self._lock:
            if answer.task is not None:
                house.tasks.append(answer.task)
                house.answered.append(sent)
                house.unanswered = [other for other in house.unanswered if other.plan.op != sent.plan.op]
            elif sent.plan.key is not None:
                house.unanswered.append(sent)
        if answer.task is None:
            self._stop.wait(BREATH)

    def _any_task(self, rng: random.Random, house: House) -> str | None:
        with self._lock:
            recent = house.tasks[-40:] if rng.random() < 0.7 else house.tasks
            return rng.choice(recent) if recent else None

    def _any_sent(self, rng: random.Random, house: House) -> Sent | None:
        with self._lock:
            keyed = [sent for sent in house.answered if sent.plan.key is not None]
            choices = house.unanswered or keyed
            return rng.choice(choices) if choices else None

    def _plan(self, rng: random.Random) -> Sent:
        with self._lock:
            op = next(self._ops)
            kind = rng.choices(list(self._manner.kinds), list(self._manner.kinds.values()))[0]
            if kind == "die":
                self._deaths -= 1
                kind = "echo" if self._deaths < 0 else kind
        times = {"retry": rng.randrange(1, 4), "give_up": NEVER}.get(kind, 0)
        sends = "retry" if kind == "give_up" else kind
        may_fail: dict[str, tuple[str, ...]] = {
            "raise": ("model_error",),
            "give_up": ("model_error",),
            "die": ("instance_died", "time_limit"),
        }
        countdown = round(rng.uniform(0.05, 1.5), 3) if rng.random() < 0.12 else None
        # What expires before it is due is refused.
        expires = round(rng.uniform(0.2, 3.0), 3) if countdown is None and rng.random() < 0.09 else None
        plan = Plan(
            op=op,
            model=rng.choice(list(MODELS)),
            kind=sends,
            input=f"{sends} {op} times={times}",
            expected=None if kind in ("raise", "die", "give_up") else expected_of(op, kind),
            may_fail=may_fail.get(kind, ()),
            key=f"key-{op}" if rng.random() < KEYED else None,
            priority=rng.choice((0, 0, 0, -50, 50)),
            countdown=countdown,
            expires=expires,
            retries=times if kind == "retry" else 0,
        )
        self._history.tell(Asked(time.monotonic(), plan))
        return Sent(plan, times, round(rng.uniform(0.005, self._manner.sleep_max), 3))

    def settle(self, client: Client, limit: float, house: int = 0) -> bool:
        """Sends again what was not answered, under its key, until it is; false when the time is over."""
        whose = self._houses[house]
        while whose.unanswered:
            if time.monotonic() > limit:
                return False
            sent = whose.unanswered[0]
            self._submit(client, sent, whose)
            if whose.unanswered and whose.unanswered[0] is sent:
                whose.unanswered = [*whose.unanswered[1:], sent]
        return True

    @property
    def tasks(self) -> list[str]:
        """Every task that was accepted."""
        return [task for house in self._houses for task in self.tasks_of(house)]

    def tasks_of(self, house: int) -> list[str]:
        """Those of one house."""
        with self._lock:
            return list(dict.fromkeys(self._houses[house].tasks))
