"""What Cresset wants to reach, each a question to the results. Bars live here and never in tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.results import Results
from harness.scenarios import DEPTH, EMBED, MIXED, OVERLOAD, PREDICT, RESNET, SUBMIT, TASKS

US = "Cresset"
GOOD = ("goodput",)
P50 = ("latency_ms", "p50")
P99 = ("latency_ms", "p99")
CPU = ("cpu", "us_per_request")
DEEP = 1_000_000


@dataclass(frozen=True)
class Bar:
    """A figure that must be at least, or at most, something."""

    text: str
    at_least: bool
    wanted: float
    measured: Callable[[Results], float | None]
    unit: str = ""

    def holds(self, results: Results) -> bool | None:
        """Whether it is reached; nothing when it was not measured."""
        value = self.measured(results)
        if value is None:
            return None
        return value >= self.wanted if self.at_least else value <= self.wanted

    def row(self, results: Results) -> tuple[str, str, str, str]:
        """What it is, wanted, measured, yes or no."""
        value, holds = self.measured(results), self.holds(results)
        wanted = f"{'>=' if self.at_least else '<='} {self.wanted:,.10g}{self.unit}"
        if value is None:
            return self.text, wanted, "", "not measured"
        return (
            self.text,
            wanted,
            f"{value:,.0f}{self.unit}" if value >= 1000 else f"{value:.3g}{self.unit}",
            ("yes" if holds else "no"),
        )


Question = Callable[[Results], float | None]
"""Asks results for a figure."""


def least(text: str, wanted: float, measured: Question, unit: str = "") -> Bar:
    """A bar that the figure must not fall below."""
    return Bar(text, at_least=True, wanted=wanted, measured=measured, unit=unit)


def most(text: str, wanted: float, measured: Question, unit: str = "") -> Bar:
    """A bar that the figure must not exceed."""
    return Bar(text, at_least=False, wanted=wanted, measured=measured, unit=unit)


def of(scenario: str, level: int, *path: str, system: str = US) -> Question:
    """A figure of ours."""
    return lambda results: results.median(scenario, system, level, *path)


def over(scenario: str, other: str, level: int, *path: str) -> Question:
    """Our figure by another system's."""
    return lambda results: results.ratio(scenario, (US, level), (other, level), *(path or GOOD))


def split(scenario: str, system: str, level: int, above: str, below: str) -> Question:
    """Two figures of one cell, by each other."""

    def measured(results: Results) -> float | None:
        a = results.median(scenario, system, level, *above.split("."))
        b = results.median(scenario, system, level, *below.split("."))
        return a / b if a is not None and b else None

    return measured


def overloaded(model: str, level: int) -> tuple[Bar, ...]:
    """What must hold when twice as much arrives as can be done."""
    system, name = f"{US} ({model})", f"{OVERLOAD}, {model}"
    calm = split(OVERLOAD, system, level, "after_ms.p50", "calm_ms.p50")
    flat = split(OVERLOAD, system, level, "memory_mb.end", "memory_mb.begin")
    return (
        least(f"{name}: goodput by capacity", 0.95, split(OVERLOAD, system, level, "goodput", "capacity")),
        most(f"{name}: p99 of refusals", 5, of(OVERLOAD, level, "refused_ms", "p99", system=system), " ms"),
        most(f"{name}: memory at the end by the beginning", 1.1, flat),
        most(f"{name}: p50 of a lone caller a second after, by before", 1.25, calm),
    )


BARS = (
    *(
        bar
        for level in (64, 256)
        for bar in (
            least(f"{PREDICT}, {level}: by mosec with 1 worker", 2.2, over(PREDICT, "mosec", level)),
            least(f"{PREDICT}, {level}: by mosec with 2 workers", 1.6, over(PREDICT, "mosec, 2 workers", level)),
            least(f"{PREDICT}, {level}: by the constant answer", 0.45, over(PREDICT, "constant answer", level)),
        )
    ),
    most(f"{PREDICT}, 64: server CPU a request", 22, of(PREDICT, 64, *CPU), " us"),
    least(f"{PREDICT}, 16: by mosec", 6, over(PREDICT, "mosec", 16)),
    least(f"{PREDICT}, 16: by Django inline", 4, over(PREDICT, "Django, uWSGI, 2 processes", 16)),
    most(f"{PREDICT}, 1: p50 by FastAPI's", 0.75, over(PREDICT, "FastAPI", 1, *P50)),
    least(f"{TASKS}, 256: tasks a second", 15_000, of(TASKS, 256, *GOOD)),
    least(f"{TASKS}, 256: by Django, Celery, Redis", 25, over(TASKS, "Django, Celery, Redis", 256)),
    most(f"{TASKS}, 256: server CPU a task", 120, of(TASKS, 256, *CPU), " us"),
    most(f"{TASKS}, 1: p50", 1, of(TASKS, 1, *P50), " ms"),
    least(f"{SUBMIT}, 256: tasks a second", 25_000, of(SUBMIT, 256, *GOOD)),
    most(f"{SUBMIT}, 256: p99", 10, of(SUBMIT, 256, *P99), " ms"),
    least(
        f"{RESNET}, 64: by two bare processes at batch 32",
        0.97,
        lambda results: results.ratio(RESNET, (US, 64), ("no server, 2 processes", 32), *GOOD),
    ),
    least(f"{RESNET}, 16: by TorchServe", 1.5, over(RESNET, "TorchServe, 2 workers", 16)),
    most(f"{RESNET}, 1: p50 by FastAPI's", 1.0, over(RESNET, "FastAPI, 2 workers", 1, *P50)),
    least(
        f"{RESNET}, 64: JSON by binary",
        0.95,
        lambda results: results.ratio(RESNET, ("Cresset, JSON", 64), (US, 64), *GOOD),
    ),
    *(bar for model, level in (("paced", 256), ("mlp", 256), ("resnet18", 64)) for bar in overloaded(model, level)),
    # Not of resnet18: the 1024 that may wait, by default, are a second and a half of its work.
    *(
        most(
            f"{OVERLOAD}, {model}: p99 of accepted",
            100,
            of(OVERLOAD, 256, *P99, system=f"{US} ({model})"),
            " ms",
        )
        for model in ("paced", "mlp")
    ),
    most(
        f"{DEPTH}: CPU a submit with {DEEP:,} queued, by that with 100",
        1.1,
        lambda results: results.ratio(DEPTH, (US, DEEP), (US, 100), "submits", *CPU),
    ),
    most(
        f"{DEPTH}: CPU a task with {DEEP:,} queued, by that with 100",
        1.1,
        lambda results: results.ratio(DEPTH, (US, DEEP), (US, 100), *CPU),
    ),
    most(f"{DEPTH}: server memory with {DEEP:,} queued", 150, of(DEPTH, DEEP, "submits", "memory_mb", "most"), " MB"),
    *(
        least(
            f"{scenario}, 64: by mosec's better setting",
            1.5,
            lambda results, scenario=scenario: min(
                (
                    ratio
                    for peer in ("mosec, orjson, 2 threads", "mosec, orjson, 2 workers")
                    if (ratio := results.ratio(scenario, (US, 64), (peer, 64), *GOOD)) is not None
                ),
                default=None,
            ),
        )
        for scenario in (EMBED, MIXED)
    ),
)
