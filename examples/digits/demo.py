"""Submits every held-out digit at once through the Python client, and prints what came of it.

    python examples/digits/demo.py --url http://127.0.0.1:8700

`make demo` starts a server and runs this. Fails when a task does, or when the accuracy is not the one that was trained.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from cresset import AsyncClient

HELD_OUT = Path(__file__).parent / "heldout"
MODEL = "digits"
SECONDS_TO_ANSWER = 60.0
LEAST_ACCURACY = 0.98
"""The trained network has 0.995 on these images; less than this means that something between it and us is broken."""
BAR = 40


async def ask(client: AsyncClient, image: Any) -> tuple[int, float]:
    """Submits one image, waits for its result: the digit that the model sees, and the seconds that took."""
    started = time.perf_counter()
    handle = await client.submit(MODEL, image)
    probabilities: list[float] = await handle.result(timeout=SECONDS_TO_ANSWER)
    return max(range(len(probabilities)), key=probabilities.__getitem__), time.perf_counter() - started


async def ask_all(url: str, images: list[Any]) -> tuple[list[tuple[int, float]], float]:
    """Asks about every image concurrently: the answers in order, and the seconds for all of them."""
    async with AsyncClient(url) as client:
        started = time.perf_counter()
        answers = await asyncio.gather(*(ask(client, image) for image in images))
        return answers, time.perf_counter() - started


def percentile(sorted_values: list[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    return sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)]


def batch_sizes(url: str) -> dict[float, int]:
    """How many batches of at most each size this model has had so far, from the server's own histogram."""
    text = httpx.get(f"{url}/metrics").raise_for_status().text
    found: dict[float, int] = {}
    for labels, count in re.findall(r"^cresset_batch_size_bucket\{([^}]*)\} (\d+)", text, re.MULTILINE):
        values = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if values.get("model") == MODEL:
            found[float(values["le"].replace("+Inf", "inf"))] = int(count)
    return found


def histogram(before: dict[float, int], after: dict[float, int]) -> list[str]:
    """One line for each range of sizes that formed between two readings."""
    rows: list[tuple[str, int]] = []
    smaller, counted = 0.0, 0
    for limit, total in sorted(after.items()):
        formed = total - before.get(limit, 0) - counted
        counted += formed
        low = int(smaller) + 1
        if formed:
            name = f"over {int(smaller)}" if math.isinf(limit) else str(low) if low == limit else f"{low}-{int(limit)}"
            rows.append((name, formed))
        smaller = limit
    most = max((formed for _, formed in rows), default=1)
    return [f"  {name:>9}  {'#' * math.ceil(BAR * formed / most)} {formed}" for name, formed in rows]


def main() -> int:
    """Asks, counts, prints; the exit status says whether all was as trained."""
    parser = argparse.ArgumentParser(description="Submit every held-out digit at once, and say how it went.")
    parser.add_argument("--url", default="http://127.0.0.1:8700", help="where the server is")
    url: str = parser.parse_args().url.rstrip("/")

    images = [json.loads(line) for line in (HELD_OUT / "images.jsonl").read_text().splitlines()]
    labels: list[int] = json.loads((HELD_OUT / "labels.json").read_text())
    before = batch_sizes(url)
    answers, seconds = asyncio.run(ask_all(url, images))
    after = batch_sizes(url)

    right = sum(digit == label for (digit, _), label in zip(answers, labels, strict=True))
    latencies = sorted(latency for _, latency in answers)
    print(f"{len(answers)} handwritten digits, each its own task, all submitted at once; every one answered")
    print(f"  accuracy   {right / len(labels):.4f} ({right} of {len(labels)} held-out images right)")
    print(f"  rate       {len(answers) / seconds:.0f} tasks/s (all done in {seconds:.2f} s)")
    print(f"  latency    p50 {percentile(latencies, 0.5) * 1e3:.0f} ms, p99 {percentile(latencies, 0.99) * 1e3:.0f} ms")
    print("             (from submit to result in this client, with all the others in the queue too)")
    print("  batches that formed, by size:")
    print("\n".join(histogram(before, after)))
    if right < LEAST_ACCURACY * len(labels):
        print(f"error: the accuracy is below {LEAST_ACCURACY}: answers do not belong to their images", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
