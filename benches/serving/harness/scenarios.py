"""What is measured, as data: scenarios, the systems in each, and at how many connections."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.systems import System

PREDICT = "mlp, predict"
TASKS = "mlp, tasks"
STORES = "mlp, tasks, by store"
SUBMIT = "mlp, submit only"
RESNET = "resnet18, predict"
EMBED = "embed, predict"
MIXED = "embed, predict, mixed lengths"
OVERLOAD = "overload"
DEPTH = "queue depth"

CRESSET = System("Cresset", "cresset")
CEILING = System("constant answer", "ceiling")
MOSEC = System("mosec", "mosec")
MOSEC_2 = System("mosec, 2 workers", "mosec", workers=2)
MOSEC_FAST = System("mosec, orjson", "mosec", environ={"BENCH_JSON": "orjson"})
MOSEC_FAST_2 = replace(MOSEC_FAST, name="mosec, orjson, 2 workers", workers=2)
FASTAPI = System("FastAPI", "fastapi")
FASTAPI_2 = System("FastAPI, 2 workers", "fastapi", workers=2)
DJANGO = System("Django, uWSGI, 2 processes", "django_uwsgi", workers=2)
LITSERVE = System("LitServe", "litserve")
CRESSET_TASKS = System("Cresset", "cresset", tasks=True)
CRESSET_POSTGRES = System("Cresset, PostgreSQL", "cresset", tasks=True, database="postgresql://postgres@127.0.0.1")
CELERY = System("Django, Celery, Redis", "django_celery", workers=2, tasks=True, poll_ms=1)
# More is submitted here than is computed meanwhile.
CRESSET_SUBMIT = replace(CRESSET_TASKS, settings={"limits": "max_queue = 10000000\nmax_queue_bytes = '16GiB'"})
CRESSET_JSON = System("Cresset, JSON", "cresset", model="resnet18")
BARE = System("no server, 2 processes", "bare", model="resnet18", workers=2)
TORCHSERVE_2 = System("TorchServe, 2 workers", "torchserve", model="resnet18", binary=True, workers=2)
EMBEDDERS = (
    replace(CRESSET.on("embed"), settings={"instances": "count = 2"}),
    replace(CRESSET.on("embed"), name="Cresset, 1 instance"),
    replace(MOSEC_FAST, name="mosec, orjson, 2 threads", threads=2).on("embed"),
    MOSEC_FAST_2.on("embed"),
)
DEEP = System("Cresset", "cresset", tasks=True, beside=("gated",))


@dataclass(frozen=True)
class Case:
    """A system in a scenario."""

    system: System
    levels: tuple[int, ...]
    """Connections; for no server at all, items in a batch; for the queue depth, tasks queued."""
    short: bool = True
    """Also in a short run."""


@dataclass(frozen=True)
class Scenario:
    """Systems that are compared with each other."""

    name: str
    kind: str
    """How it is measured: `closed`, `submit-wait`, `overload` or `depth`."""
    cases: tuple[Case, ...]
    about: str
    short: bool = True
    rounds: int | None = None
    """Fewer than the others: one measurement is long by itself."""


ALL = (1, 16, 64, 256)
SCENARIOS = (
    Scenario(
        PREDICT,
        "closed",
        (
            Case(CEILING, ALL),
            Case(CRESSET, ALL),
            Case(MOSEC, ALL),
            Case(MOSEC_2, ALL),
            Case(MOSEC_FAST, ALL, short=False),
            Case(MOSEC_FAST_2, ALL, short=False),
            Case(FASTAPI, ALL),
            Case(FASTAPI_2, ALL, short=False),
            Case(DJANGO, ALL),
            Case(LITSERVE, ALL, short=False),
        ),
        "A 64-256-10 network, float32, JSON in and out, one instance. What the server costs.",
    ),
    Scenario(
        TASKS,
        "submit-wait",
        (Case(CRESSET_TASKS, ALL), Case(CELERY, ALL)),
        "The same network as durable tasks: submit (fsync), run, result at the caller. Celery's Redis keeps nothing.",
    ),
    Scenario(
        STORES,
        "submit-wait",
        (Case(replace(CRESSET_TASKS, name="Cresset, SQLite"), (1, 64, 256)), Case(CRESSET_POSTGRES, (1, 64, 256))),
        "The same, by the store: the embedded one, and PostgreSQL on the same machine, every commit on the disk.",
        short=False,
    ),
    Scenario(SUBMIT, "closed", (Case(CRESSET_SUBMIT, (256,)),), "The same, submitted only; results are not fetched."),
    Scenario(
        RESNET,
        "closed",
        (
            Case(CRESSET.on("resnet18", binary=True), (1, 16, 64)),
            Case(CRESSET_JSON, (64,)),
            Case(MOSEC_2.on("resnet18", binary=True), (1, 16, 64)),
            Case(FASTAPI_2.on("resnet18", binary=True), (1, 16, 64)),
            Case(TORCHSERVE_2, (1, 16, 64)),
            Case(BARE, (1, 32)),
        ),
        "ResNet-18 on 3x64x64 float32, two model processes of one thread each, bytes in and out. What batching gets.",
        short=False,
    ),
    Scenario(
        EMBED,
        "closed",
        tuple(Case(system, (64,)) for system in EMBEDDERS),
        "examples/embed: JSON in Python on both sides, sentences of about one length.",
        short=False,
    ),
    Scenario(
        MIXED,
        "closed",
        tuple(Case(replace(system, inputs="embed-mixed"), (64,)) for system in EMBEDDERS),
        "The same with texts of 1 to 24 sentences: whoever puts a long one among short ones pads them all.",
        short=False,
    ),
    Scenario(
        OVERLOAD,
        "overload",
        (
            Case(CRESSET.on("paced"), (256,)),
            Case(CRESSET, (256,)),
            Case(CRESSET.on("resnet18", binary=True), (64,)),
            Case(CEILING, (256,)),
            Case(MOSEC, (256,)),
            Case(DJANGO, (64,)),
        ),
        "Arrivals at twice the rate of closed loop. `paced` stands for a model on an accelerator: 1.6 ms a batch.",
        short=False,
        rounds=1,
    ),
    Scenario(
        DEPTH,
        "depth",
        (Case(DEEP, (100, 1_000_000)),),
        "What a task of the mlp costs while so many of another model are queued, and what one more of those costs.",
        short=False,
        rounds=1,
    ),
)
