"""The site's "before" on real Celery, and the comparison of the three ways by its own command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dev_env
import django_site
import httpx
import pytest
from support.programs import needed
from support.server import program

LONG = 60.0
COMPARE = django_site.SITE / "compare.py"
SHORT = ["--rounds", "1", "--seconds", "1", "--ramp", "0.5", "--tries", "5", "--build", "test"]
"""Enough to run every part of it; its figures say nothing."""


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter that the site runs on."""
    return str(dev_env.build("site", sys.executable))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the comparison alone: it needs no torch."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "slow").symlink_to(django_site.SITE / "models" / "slow")
    return folder


@pytest.fixture(scope="module")
def site(python: str, models: Path) -> Iterator[django_site.Running]:
    """Cresset, uWSGI, nginx, a Redis, and a Celery worker of eight processes."""
    needed("nginx")
    needed("redis-server")
    with django_site.running(python, models=models, cresset_program=program(), celery=True) as site:
        yield site


def compared(site: django_site.Running, python: str, figures: Path) -> tuple[str, str, Any]:
    """What the comparison prints, and its figures."""
    command = [python, str(COMPARE), "--url", site.url, "--json", str(figures), *SHORT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * LONG, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr, json.loads(figures.read_text())


def test_an_answer_comes_through_celery_while_the_site_serves_pages(site: django_site.Running) -> None:
    with httpx.Client(base_url=site.url, timeout=LONG) as http:

        def submit(number: int) -> Any:
            answer = http.post("/compare/celery", json={"input": number})
            assert answer.status_code == 202, answer.text
            return answer.json()

        def wait(task: Any) -> Any:
            until = time.monotonic() + LONG
            while time.monotonic() < until:
                seen = http.get(task["url"]).raise_for_status().json()
                if seen["status"] in ("SUCCESS", "FAILURE", "REVOKED"):
                    return seen
            raise AssertionError(f"{task} did not end")

        numbers = range(2 * django_site.CELERY_PROCESSES)
        with ThreadPoolExecutor(len(numbers)) as pool:
            waits = [pool.submit(wait, task) for task in map(submit, numbers)]
            assert http.get("/about").status_code == 200
            assert not all(done.done() for done in waits)
            assert [done.result(LONG) for done in waits] == [{"status": "SUCCESS", "result": n} for n in numbers]
        behind = [submit(number) for number in range(2 * django_site.CELERY_PROCESSES)]
        http.post(behind[-1]["cancel_url"]).raise_for_status()
        assert wait(behind[-1])["status"] == "REVOKED"


def test_each_process_of_the_worker_has_loaded_the_model_once(site: django_site.Running) -> None:
    log = (site.folder / "celery.log").read_text()
    loaded = re.findall(r"process (\d+) has loaded the model", log)
    assert len(loaded) == len(set(loaded)) == django_site.CELERY_PROCESSES, log


def test_one_command_measures_all_three(site: django_site.Running, python: str, tmp_path: Path) -> None:
    table, _, figures = compared(site, python, tmp_path / "figures.json")
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")][2:]
    assert rows == ["no load", "inline in the view", "behind Celery", "at Cresset"]
    assert table.rstrip().splitlines()[-1].startswith("A view that does nothing takes ")
    assert "Cresset: test build." in table
    assert {name: len(told) for name, told in figures["phases"].items()} == {
        "idle": 3,
        "inline": 1,
        "celery": 1,
        "cresset": 1,
    }
    assert [set(one) for one in figures["submit"]] == [{"plain", "celery", "cresset"}]
    assert all(told["pages_failed"] == 0 for phases in figures["phases"].values() for told in phases)
    # Eight threads, and 64 callers that each hold one for half a second: whatever the machine, pages come late.
    assert figures["phases"]["inline"][0]["page_p50_ms"] > 500


def test_without_a_worker_its_row_says_why(python: str, models: Path, tmp_path: Path) -> None:
    needed("nginx")
    with django_site.running(python, models=models, cresset_program=program()) as site:
        table, said, figures = compared(site, python, tmp_path / "figures.json")
    assert "Celery is left out: the site was started without a worker" in said
    assert "| behind Celery | left out: the site has no Celery worker |" in table
    assert set(figures["phases"]) == {"idle", "inline", "cresset"}
