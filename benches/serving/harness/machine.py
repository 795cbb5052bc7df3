"""What the figures were measured on and with."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
from pathlib import Path

from harness.environments import REPOSITORY, dev_env
from harness.results import Results

NAMED = {
    "mosec": ("mosec", "orjson"),
    "fastapi": ("fastapi", "uvicorn", "uvloop"),
    "litserve": ("litserve",),
    "django_uwsgi": ("django", "pyuwsgi"),
    "django_celery": ("celery", "redis"),
    "torchserve": ("torchserve",),
    "models": ("torch", "numpy", "transformers"),
}
"""Environment -> the packages of it that are worth naming."""


def hardware() -> dict[str, str]:
    """The machine, in words."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory.group(1)) / 2**20:.0f} GiB" if memory else "",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """The packages of the peers' environments that matter, as installed."""
    found: dict[str, str] = {}
    for environment, names in NAMED.items():
        for folder in sorted(
            (dev_env.cache() / "bench").glob(f"{environment}-*/lib/python*/site-packages/*.dist-info")
        ):
            name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
            if name.lower() in names:
                found[name.lower()] = version
    for program, arguments in (("nginx", ["-v"]), ("redis-server", ["--version"])):
        try:
            done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        except OSError:
            continue
        if version := re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr):
            found[program] = version.group()
    return found


def commit() -> str:
    """The commit that is checked out, and whether anything has been changed since."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
        ).stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") + (" and uncommitted changes" if git("status", "--porcelain") else "")


def disturbance(results: Results) -> dict[str, float]:
    """Cores that others kept busy while something was measured: the median over all measurements, and the most."""
    seen = [
        cell["other_cores"]
        for systems in results.scenarios.values()
        for levels in systems.values()
        for rounds in levels.values()
        for cell in rounds
        if cell and cell.get("other_cores") is not None
    ]
    return {"median": statistics.median(seen), "most": max(seen)} if seen else {}
