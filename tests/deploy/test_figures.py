"""The files for Prometheus and Grafana: alerts that come when they should, and no figure that is not there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Serve
from support.models import ECHO, write_model
from support.programs import needed
from support.server import REPOSITORY

PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
RULES = PROMETHEUS / "cresset.rules.yml"
DASHBOARD = REPOSITORY / "deploy" / "grafana" / "cresset.json"
ROW = re.compile(r"^\| `(cresset_\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
SELECTOR = re.compile(r"\b(cresset_\w+)(?:\{([^}]*)\})?")
OF_THE_SCRAPE = {"job", "instance", "le"}
"""Labels that Prometheus itself, or the kind of a metric, adds."""
WIDTH = 24
"""Columns of Grafana's grid."""


def declared() -> dict[str, set[str]]:
    """Every name that can be asked for, with its labels, as the reference has them."""
    found: dict[str, set[str]] = {}
    for name, kind, labels in ROW.findall((REPOSITORY / "docs" / "reference" / "metrics.md").read_text()):
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(kind, [""])
        for ending in endings:
            found[name + ending] = set(re.findall(r"`(\w+)`", labels))
    assert len(found) > 30, "docs/reference/metrics.md has another form now"
    return found


def values(tree: Any, key: str) -> Iterator[str]:
    """Every text under one key, however deep."""
    if isinstance(tree, dict):
        for name, below in tree.items():
            if name == key and isinstance(below, str):
                yield below
            yield from values(below, key)
    elif isinstance(tree, list):
        for below in tree:
            yield from values(below, key)


def dashboard() -> Any:
    """The dashboard."""
    return json.loads(DASHBOARD.read_text())


def queries(which: Path) -> list[str]:
    """What a file asks Prometheus."""
    if which == DASHBOARD:
        variables = [each for each in values(dashboard()["templating"], "query") if each.startswith("label_values(")]
        return [*values(dashboard()["panels"], "expr"), *variables]
    # What stands between `expr:` and the next key: the file is ours, and read without a library for YAML.
    found = re.findall(r"^ +expr: (.*(?:\n {10,}\S.*)*)$", which.read_text(), re.MULTILINE)
    assert len(found) == which.read_text().count("- alert: ")
    return found


@pytest.mark.parametrize("which", [RULES, DASHBOARD], ids=["rules", "dashboard"])
def test_every_figure_and_label_that_is_asked_for_is_in_the_reference(which: Path) -> None:
    known = declared()
    asked = queries(which)
    assert len(asked) > 9
    for query in asked:
        named = SELECTOR.findall(query)
        assert named or query.startswith("up{"), query
        for name, labels in named:
            assert name in known, f"{name}, in {query}, is not in docs/reference/metrics.md"
            unknown = set(re.findall(r"(\w+) *[=!]", labels)) - known[name] - OF_THE_SCRAPE
            assert not unknown, f"{name} has no label {unknown}: {query}"


def test_the_dashboard_shows_every_figure_there_is() -> None:
    shown = {name for query in queries(DASHBOARD) for name, _ in SELECTOR.findall(query)}
    bases = {re.sub("_(total|bucket|sum|count)$", "", name) for name in shown}
    all_bases = {name for name, _, _ in ROW.findall((REPOSITORY / "docs" / "reference" / "metrics.md").read_text())}
    # How often something is tried is in its counter; how many results a cache keeps says less than their bytes.
    assert all_bases - bases == {"cresset_webhook_seconds", "cresset_webhooks_open", "cresset_cache_entries"}


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    board = dashboard()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    assert board["uid"] == "cresset" and board["schemaVersion"] >= 36
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= WIDTH
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"]


def test_a_running_server_has_the_figures_that_the_rules_ask_for(serve: Serve, tmp_path: Path) -> None:
    write_model(tmp_path / "models", "echo", ECHO)
    server = serve(tmp_path / "models").wait_ready()
    with server.http() as http:
        http.post("/v1/models/echo/tasks", json={"input": 1}, headers={"prefer": "wait=30"}).raise_for_status()
        said = http.get("/metrics").text
    # A counter by reason has no line before its first: its declaration is what shows that it is there.
    lines = {line.split("{")[0].split(" ")[0] for line in said.splitlines() if not line.startswith("#")}
    names = lines | {line.split()[2] + "_total" for line in said.splitlines() if line.startswith("# TYPE ")}
    asked = {name for query in queries(RULES) for name, _ in SELECTOR.findall(query)}
    late = {"cresset_instance_restarts_total"}
    assert asked - names <= late, f"not told by a running server: {asked - names - late}"


@pytest.mark.parametrize(
    "words",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "cresset.rules.yml"],
        ["test", "rules", "cresset.rules.test.yml"],
    ],
    ids=["the configuration", "the rules", "when the alerts come"],
)
def test_promtool_finds_nothing_wrong_with(words: list[str]) -> None:
    promtool = needed("promtool")
    done = subprocess.run([promtool, *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test_of_when_it_comes() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    tested = (PROMETHEUS / "cresset.rules.test.yml").read_text()
    for alert in alerts:
        assert re.search(rf"alertname: {alert}\n +exp_alerts:\n +- exp_labels", tested), (
            f"no test in which {alert} comes"
        )
