"""The generated part of docs/performance.md."""

from __future__ import annotations

from typing import Any

from harness.environments import REPOSITORY
from harness.results import Results
from harness.tables import tables

PAGE = REPOSITORY / "docs" / "performance.md"
BEGIN = "<!-- measured: python3 benches/serving/run.py --full --write-docs -->"
END = "<!-- end of measured -->"


def about(kept: dict[str, Any]) -> list[str]:
    """When, on what, with what."""
    hardware, pace = kept["hardware"], kept["pace"]
    machine = [f"{hardware['cores']} cores ({hardware['cpu']})", hardware["memory"], f"Linux {hardware['kernel']}"]
    packages = [f"{name} {version}" for name, version in kept["versions"].items()]
    others = ", ".join(f"{name} {cores:.2f}" for name, cores in kept["other_cores"].items()) or "not known"
    warm = f"{pace['duration']:g} s each after {pace['warmup']:g} s of warm-up; overload {pace['overload']:g} s"
    return [
        f"Measured {kept['when']} on commit {kept['commit']}, with `{kept['command']}`.",
        "",
        f"- {', '.join([*machine, 'Python ' + hardware['python']])}",
        f"- {', '.join(packages)}",
        f"- {kept['rounds']} rounds, {warm}",
        f"- cores that other programs kept busy while it measured: {others}",
    ]


def write(kept: dict[str, Any]) -> None:
    """Replaces what stands between the marks."""
    text = PAGE.read_text()
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise SystemExit(f"error: {PAGE} has lost its marks {BEGIN} and {END}")
    lines = [BEGIN, "", *about(kept), "", *tables(Results(kept["scenarios"])), "", END]
    PAGE.write_text(before + "\n".join(lines) + after)
