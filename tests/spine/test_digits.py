"""The digits example, as it is committed: 2,000 concurrent submits of real data."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import cresset
import pytest
from conftest import Serve
from support.server import LONG, REPOSITORY, Server

DIGITS = REPOSITORY / "examples" / "digits"


@pytest.fixture
def digits(serve: Serve, tmp_path: Path) -> Server:
    """The example on this interpreter: its requirements are built by `make demo`, not once more here."""
    folder = tmp_path / "digits"
    shutil.copytree(DIGITS, folder, ignore=shutil.ignore_patterns("requirements.txt", "__pycache__"))
    with (folder / "model.toml").open("a") as toml:
        toml.write(f'\n[environment]\npython = "{sys.executable}"\n')
    return serve(folder).wait_ready()


def heldout() -> tuple[list[list[list[list[float]]]], list[int]]:
    """The held-out images, each [1, 8, 8] with values 0 to 16, and their labels."""
    lines = (DIGITS / "heldout" / "images.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], json.loads((DIGITS / "heldout" / "labels.json").read_text())


def test_2000_concurrent_submits_all_succeed_as_accurate_as_trained(digits: Server) -> None:
    images, labels = heldout()
    wanted = [i % len(images) for i in range(2000)]

    async def run() -> list[int]:
        async with cresset.AsyncClient(digits.url, timeout=LONG) as client:

            async def one(i: int) -> int:
                handle = await client.submit("digits", images[i])
                answer = await handle.result(timeout=LONG)
                return max(range(10), key=answer.__getitem__)

            return await asyncio.gather(*(one(i) for i in wanted))

    answers = asyncio.run(run())
    right = sum(a == labels[i] for a, i in zip(answers, wanted, strict=True))
    assert right / len(wanted) >= 0.97
    assert digits.metric("cresset_tasks_total", model="digits", status="SUCCESS") == 2000
