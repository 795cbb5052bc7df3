"""The bodies that are sent, written to files; the same ones each time."""

from __future__ import annotations

import array
import json
import math
import random
from pathlib import Path

from harness.environments import REPOSITORY

MLP_BODIES = 256
IMAGES = 8
IMAGE_NUMBERS = 3 * 64 * 64
DECIMALS = 4
MIXED = 256
SENTENCES = (1.0, 1.0)
"""Of the logarithm of how many sentences a text has, mean and deviation: half have 3 at most, a tenth 10 or more."""
MOST_SENTENCES = 24


def write(folder: Path) -> None:
    """A `MODEL.jsonl` for each model, and `resnet18-N.f32`."""
    numbers = random.Random(1)  # noqa: S311 - inputs, not secrets
    inputs = [[round(numbers.gauss(0, 1), DECIMALS) for _ in range(64)] for _ in range(MLP_BODIES)]
    for model in ("mlp", "paced", "gated"):
        lines(folder / f"{model}.jsonl", [{"input": one} for one in inputs])
    triples: list[list[str]] = json.loads((REPOSITORY / "examples" / "embed" / "triples.json").read_text())
    texts = [text for triple in triples for text in triple]
    lines(folder / "embed.jsonl", [{"input": {"text": text}} for text in texts])
    lines(folder / "embed-mixed.jsonl", [{"input": {"text": mixed(texts, numbers)}} for _ in range(MIXED)])
    images = [[round(numbers.gauss(0, 1), DECIMALS) for _ in range(IMAGE_NUMBERS)] for _ in range(IMAGES)]
    lines(folder / "resnet18.jsonl", [{"input": nested(image)} for image in images])
    for number, image in enumerate(images):
        (folder / f"resnet18-{number}.f32").write_bytes(array.array("f", image).tobytes())


def mixed(texts: list[str], numbers: random.Random) -> str:
    """Sentences in a row: mostly few, as questions are, sometimes a page of them, as what is searched is."""
    count = min(MOST_SENTENCES, math.ceil(numbers.lognormvariate(*SENTENCES)))
    return " ".join(numbers.choices(texts, k=count))


def lines(path: Path, bodies: list[dict[str, object]]) -> None:
    """One body a line."""
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies))


def nested(image: list[float]) -> list[list[list[float]]]:
    """[3, 64, 64]."""
    rows = [image[at : at + 64] for at in range(0, len(image), 64)]
    return [rows[at : at + 64] for at in range(0, len(rows), 64)]


def arguments(folder: Path, model: str, binary: bool) -> list[str]:  # noqa: FBT001
    """What the load generator is told to send."""
    if not binary:
        return ["--lines", str(folder / f"{model}.jsonl")]
    files = [word for number in range(IMAGES) for word in ("--body", str(folder / f"{model}-{number}.f32"))]
    octets = "application/octet-stream"
    return [*files, "--content-type", octets, "--header", f"Accept: {octets}"]


def first(folder: Path, model: str, binary: bool) -> tuple[bytes, dict[str, str]]:  # noqa: FBT001
    """A body to try, and its headers."""
    if binary:
        octets = "application/octet-stream"
        return (folder / f"{model}-0.f32").read_bytes(), {"Content-Type": octets, "Accept": octets}
    with (folder / f"{model}.jsonl").open("rb") as file:
        return file.readline(), {"Content-Type": "application/json"}
