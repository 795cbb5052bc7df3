"""Whoever asks, each a process of its own as those of a web server are: `.delay()`, then `.get()`, then the next."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tasks import app, perform_inference

WAITED = 120.0
"""Seconds for one answer: import of torch from a cold disk; Cresset may have to build the model's environment first."""


@dataclass(frozen=True)
class Place:
    """Where the application's broker, results and queue are."""

    broker: str
    results: str
    queue: str

    def take(self) -> None:
        """Has the application of this process send there."""
        app.conf.update(broker_url=self.broker, result_backend=self.results, task_default_queue=self.queue)


@dataclass(frozen=True)
class Answered:
    """One call."""

    image: int
    ms: float
    answer: list[float]


def ask(place: Place, images: list[Any], pipe: Any) -> None:
    """Does what it is told: which images to send, and then when. Ended from outside."""
    place.take()
    while True:
        wanted: list[int] = pipe.recv()
        # Connections and the worker's own first time are not timed.
        perform_inference.delay(images[wanted[0]]).get(timeout=WAITED)
        pipe.send(None)
        pipe.recv()
        answered: list[Answered] = []
        for image in wanted:
            began = time.perf_counter()
            answer = perform_inference.delay(images[image]).get(timeout=WAITED)
            answered.append(Answered(image, (time.perf_counter() - began) * 1e3, answer))
        pipe.send(answered)


class Callers:
    """Processes that wait to be told."""

    def __init__(self, pipes: list[Any], images: int) -> None:
        self._pipes = pipes
        self._images = images

    def ask(self, callers: int, calls: int) -> list[Answered]:
        """So many at once send `calls` tasks altogether, each one after the other. They begin together."""
        pipes, each = self._pipes[:callers], -(-calls // callers)
        for number, pipe in enumerate(pipes):
            pipe.send([(number * each + at) % self._images for at in range(each)])
        for pipe in pipes:
            self._heard(pipe)
        for pipe in pipes:
            pipe.send(None)
        return [answered for pipe in pipes for answered in self._heard(pipe)]

    def _heard(self, pipe: Any) -> Any:
        try:
            return pipe.recv()
        except EOFError:
            raise SystemExit("error: a caller failed; what it said is above") from None


@contextmanager
def waiting(most: int, place: Place, images: list[Any]) -> Generator[Callers]:
    """`most` of them."""
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(most)]
    processes = [context.Process(target=ask, args=(place, images, theirs), daemon=True) for _, theirs in pairs]
    for process, (_, theirs) in zip(processes, pairs, strict=True):
        process.start()
        theirs.close()
    try:
        yield Callers([ours for ours, _ in pairs], len(images))
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
