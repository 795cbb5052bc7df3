"""Asks a running server whether the embeddings mean anything: of three sentences, the two alike must lie closer.

    cresset serve examples/embed
    python examples/embed/check.py

Each line of triples.json has a sentence, one that says the like in other words, and one that shares words but not the
meaning. Prints the cosine of both pairs, and fails if for any triple the wrong one is nearer.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

from cresset import Client

TRIPLES = Path(__file__).parent / "triples.json"
SECONDS_TO_ANSWER = 60.0


def cosine(a: list[float], b: list[float]) -> float:
    """The cosine of the angle between two vectors of length 1."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def main() -> int:
    """Embeds every triple as tasks submitted together, compares, and says how many came out right."""
    parser = argparse.ArgumentParser(description="Check the embed example against a running server.")
    parser.add_argument("--url", default="http://127.0.0.1:8700", help="where the server is")
    url = parser.parse_args().url

    triples: list[list[str]] = json.loads(TRIPLES.read_text())
    right = 0
    with Client(url) as client:
        handles = [[client.submit("embed", {"text": text}) for text in triple] for triple in triples]
        for triple, asked in zip(triples, handles, strict=True):
            text, alike, other = (handle.result(timeout=SECONDS_TO_ANSWER)["embedding"] for handle in asked)
            length = math.sqrt(cosine(text, text))
            if len(text) != 384 or abs(length - 1) > 1e-4:
                print(f"not a unit vector of 384 numbers: {len(text)} numbers, length {length}", file=sys.stderr)
                return 1
            near, far = cosine(text, alike), cosine(text, other)
            right += near > far
            print(f"{near:.2f} {'>' if near > far else '<'} {far:.2f}  {triple[0]}")
    print(f"{right} of {len(triples)} right")
    return 0 if right == len(triples) else 1


if __name__ == "__main__":
    sys.exit(main())
