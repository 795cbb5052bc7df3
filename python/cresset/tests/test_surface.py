"""The public surface: what is visible is what is promised."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cresset
from cresset import errors

MODULES = [
    "cresset",
    "cresset.client",
    "cresset.errors",
    "cresset.events",
    "cresset.records",
    "cresset.testing",
    "cresset.webhooks",
]


@pytest.mark.parametrize("name", MODULES)
def test_all_is_what_is_there(name: str):
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert getattr(module, public) is not None


def test_the_package_shows_its_public_names_and_no_others():
    assert dir(cresset) == sorted(cresset.__all__)
    namespace: dict[str, object] = {}
    exec("from cresset import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(cresset.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cresset.nothing  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_everything_the_submodules_promise_is_in_the_package():
    for name in ("cresset.client", "cresset.errors", "cresset.records"):
        assert set(importlib.import_module(name).__all__) <= set(cresset.__all__)


def test_the_tree_in_the_docstring_is_the_tree():
    drawn: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    tree = (errors.__doc__ or "").split("```text")[1].split("```")[0]
    for line in tree.strip().splitlines():
        bare = line.lstrip("│├└─ ")
        depth = len(line) - len(bare)
        stack = [entry for entry in stack if entry[0] < depth]
        drawn[bare.split()[0]] = stack[-1][1] if stack else "Exception"
        stack.append((depth, bare.split()[0]))
    real = {
        name: value.__bases__[0].__name__
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == "cresset.errors"
    }
    assert drawn == real


def test_public_things_have_docstrings():
    for name in MODULES:
        module = importlib.import_module(name)
        assert module.__doc__
        for public in module.__all__:
            value = getattr(module, public)
            if inspect.isclass(value):
                assert value.__doc__, public
                methods = [m for n, m in vars(value).items() if inspect.isfunction(m) and not n.startswith("_")]
                assert all(method.__doc__ for method in methods), public


REJECTED = """
import cresset
from datetime import timedelta
client = cresset.Client(timeout="5s")
client.submit("m", 1, priority="high")
client.submit("m", 1, 5)
client.predict("m", 1, as_="jax")
client.task(7)
client.task("t").result("1 min")
client.map("m", 5)
cresset.AsyncClient(retries=1.5)
cresset.nothing
client.submit("m", 1, eta="tomorrow")
client.submit("m", 1, countdown="90s")
client.submit("m", 1, expires="10m")
client.submit("m", 1, idempotency_key=7)
client.cancel(client.task("t"))
client.task("t").cancel().when == "after"
client.submit("m", 1, callback_url="https://x", callback_events=["done"])
"""
ACCEPTED = """
import cresset
from datetime import datetime, timedelta, timezone
from collections.abc import Iterator
from typing import Literal
with cresset.Client(timeout=timedelta(seconds=5), retries=cresset.Retries(attempts=2)) as client:
    handle: cresset.TaskHandle = client.submit("m", [1], priority=3, metadata={"a": 1})
    status: cresset.TaskStatus = handle.status()
    text: str = status.model
    soon = datetime.now(timezone.utc) + timedelta(minutes=5)
    client.submit("m", [1], eta=soon, expires=timedelta(hours=1), idempotency_key="order-7")
    client.submit("m", [1], countdown=2.5, expires=soon)
    client.submit("m", [1], callback_url="https://example.com/", callback_events=["failed", "succeeded"])
    when: Literal["before", "during", "too_late"] = handle.cancel().when
    grace: timedelta | None = handle.cancel().grace
    reasons: list[str] = [again.reason for again in status.history]
    results: Iterator[object] = client.map("m", [1, 2], in_flight=3)

class Mine(cresset.Model):
    def load(self) -> None: ...
    def predict(self, batch: list[str]) -> list[str]:
        now: cresset.Context = cresset.current()
        if now.cancelled or any(now.cancelled_items):
            raise cresset.Cancelled
        now.raise_if_cancelled()
        return batch
"""


def test_the_type_checker_takes_good_calls_and_rejects_bad_ones(tmp_path: Path):
    pyright = Path(sys.executable).with_name("pyright")
    if not pyright.exists():
        assert not os.environ.get("CI"), "pyright is missing; in CI this test must run"
        pytest.skip("pyright is not installed beside the interpreter that runs pytest")
    source = Path(__file__).parent.parent / "src"
    settings = {
        "typeCheckingMode": "standard",
        "extraPaths": [str(source)],
        "reportUnusedExpression": False,
        "reportUnnecessaryComparison": True,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    (tmp_path / "good.py").write_text(ACCEPTED)
    (tmp_path / "bad.py").write_text(REJECTED)
    command = [str(pyright), "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    errors_in_bad = {int(line.split(":")[1]) for line in done.stdout.splitlines() if "bad.py:" in line}
    assert "good.py:" not in done.stdout, done.stdout
    assert errors_in_bad == set(range(4, 20)), done.stdout
