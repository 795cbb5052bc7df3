"""The models that the faults are tried on: plain Python, loaded in no time, with every kind of behaviour on demand.

What is asked of them is in the input, so that a result can be judged by its input alone. Each input that is begun is
noted in a file, one short line by one `write`, which no other process's line can fall into.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from support.models import write_model

from faults.history import Ran, digest_of

#: Characters that an answer to `large_out` is long, above the 128 KiB over which a result is a file.
LARGE_OUT = 200_000
#: Characters that a `large` input is filled up with.
LARGE_IN = 180_000
#: Where the notes are, for the models' processes.
NOTES = "FAULTS_NOTES"
#: Where a model counts the tries of one input.
TRIES = "FAULTS_TRIES"

CODE = '''
"""Echoes digests, and misbehaves when told to."""

import hashlib
import os
import time

import cresset

NOTES = os.open(os.environ["FAULTS_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
TRIES = os.environ["FAULTS_TRIES"]


def tries(op):
    """How often this input was begun, this time included; outlives the process."""
    fd = os.open(os.path.join(TRIES, str(op)), os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, b".")
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def note(op):
    """This input is begun, here and now."""
    os.write(NOTES, f"{time.monotonic():.6f} {op} {os.getpid()} {os.getppid()}\\n".encode())


class Faulty(cresset.Model):
    def predict(self, batch):
        answers = []
        for item in batch:
            kind, op = item["kind"], item["op"]
            note(op)
            if kind == "die":
                os._exit(3)
            if kind == "sleep":
                time.sleep(item["seconds"])
            if kind == "raise" and len(batch) == 1:
                raise ValueError(f"told to, by {op}")
            if kind == "raise":
                raise RuntimeError("somebody in this batch is bad")
            answer = {"op": op, "digest": hashlib.sha256(item["text"].encode()).hexdigest()}
            if kind == "large_out":
                answer["filling"] = answer["digest"] * (item["length"] // 64)
            answers.append(answer)
        return answers

    def postprocess(self, answer):
        return answer

    def preprocess(self, item):
        if item["kind"] == "retry":
            note(item["op"])
            if tries(item["op"]) <= item["times"]:
                raise cresset.Retry(f"not yet, {item['op']}", after=0.05)
        return item
'''

#: A stopped process counts as hung after this, and is replaced.
TIMEOUT_SECONDS = 2.0

SETTINGS = f"""
[batching]
max_batch_size = {{batch}}

[instances]
count = {{count}}

[limits]
timeout = "{TIMEOUT_SECONDS}s"
start_timeout = "30s"

[retry]
max_retries = 3
"""

#: Name of a model, to its number of processes.
MODELS = {"pair": 2, "lone": 1}


def write_models(parent: Path, batch: int = 8) -> Path:
    """Writes the folders of all models, and gives the one above them. `batch`: inputs that they take at a time."""
    for name, count in MODELS.items():
        write_model(parent, name, CODE, SETTINGS.format(count=count, batch=batch))
    return parent


def text_of(op: int, kind: str) -> str:
    """The text of an input; the same each time it is sent."""
    return f"input {op} " + ("x" * LARGE_IN if kind == "large" else "")


def input_of(op: int, kind: str, seconds: float, times: int) -> dict[str, Any]:
    """The input of a submit. `large` inputs are echoed like small ones."""
    return {
        "op": op,
        "kind": kind,
        "text": text_of(op, kind),
        "seconds": seconds,
        "times": times,
        "length": LARGE_OUT,
    }


def expected_of(op: int, kind: str) -> str:
    """The digest of what a success must answer."""
    digest = hashlib.sha256(text_of(op, kind).encode()).hexdigest()
    answer: dict[str, Any] = {"op": op, "digest": digest}
    if kind == "large_out":
        answer["filling"] = digest * (LARGE_OUT // 64)
    return digest_of(answer)


def runs_in(notes: Path) -> list[Ran]:
    """What the models' processes noted."""
    if not notes.exists():
        return []
    runs: list[Ran] = []
    for text in notes.read_text().splitlines():
        at, op, pid, server = text.split()
        runs.append(Ran(float(at), int(op), int(pid), int(server)))
    return runs
