"""What is looked at when the faults are over: has everything ended, and is anything left that should not be."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from faults.client import Client
from faults.history import TERMINAL, Fault, History, Missing, Row, Stored, Wrong
from faults.process import DRAIN_SECONDS, LONG, Process

#: A stop of a server at rest: its drain time does not count, there is nothing to drain.
STOP_SECONDS = DRAIN_SECONDS + 20.0
#: When the faults are over every task has ended within this: the longest backoff of a killed process is over by then.
END_SECONDS = 60.0
STATES = ("PENDING", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED")
#: Beside the database and its payload files, all that may lie in the folder of a stopped server.
FILES_AT_REST = {"tasks.db", "tasks.db.lock"}


class Aftermath:
    """Looks at one server and its data folder, and tells the history what it finds."""

    def __init__(self, process: Process, history: History, files_at_rest: Collection[str] = FILES_AT_REST) -> None:
        """`files_at_rest`: all files that may lie in the data folder of the stopped server."""
        self._process = process
        self._files_at_rest = set(files_at_rest)
        self._history = history
        self._pause = threading.Event()

    def _wrong(self, promise: int, rule: str, what: str) -> None:
        self._history.tell(Wrong(time.monotonic(), promise, rule, what))

    def wait_all_ended(self, client: Client, tasks: list[str], seconds: float = END_SECONDS) -> None:
        """Reads each task until it has ended, or the time is over; the checker says what that means."""
        limit = time.monotonic() + seconds
        for task in tasks:
            while True:
                seen = client.read(task, wait="2s")
                ended = isinstance(seen, Missing) or (seen is not None and seen.status in TERMINAL)
                if ended or time.monotonic() > limit:
                    break
                if seen is None:
                    self._pause.wait(0.05)

    def wait_resting(self, baseline: Counter[str]) -> None:
        """Waits until the server holds no more than it did when it was fresh: model processes, memory, pipes."""
        limit = time.monotonic() + LONG
        while True:
            now = self._process.descriptors()
            more = now - baseline
            if not more:
                return
            if time.monotonic() > limit:
                self._wrong(
                    8,
                    "nothing_left_over",
                    f"the {self._process.name} at rest holds more than a fresh one: {dict(more)}",
                )
                return
            self._pause.wait(0.05)

    def stop(self) -> None:
        """A clean stop, and what must be true after it."""
        self._history.tell(Fault(time.monotonic(), f"last SIGTERM to the {self._process.name}"))
        self._process.signal(15)
        status = self._process.wait(STOP_SECONDS)
        if status is None:
            self._wrong(
                8, "stops_in_time", f"at rest, the {self._process.name} still ran {STOP_SECONDS:.0f} s after SIGTERM"
            )
            self._process.kill()
        elif status != 0:
            self._wrong(8, "stops_cleanly", f"at rest, the {self._process.name} ended with {status} after SIGTERM")
        if left := self._process.marked():
            names = [_command(pid) for pid in left]
            self._wrong(8, "nothing_left_over", f"processes outlived the {self._process.name}: {names}")
        files = {path.name for path in self._process.data.iterdir() if path.is_file()}
        if unknown := files - self._files_at_rest:
            self._wrong(
                8,
                "nothing_left_over",
                f"files in the data folder of the stopped {self._process.name}: {sorted(unknown)}",
            )

    def look_at_store(self, *, final: bool) -> None:
        """All rows of the store of a stopped server; it must be sound and without a lease."""
        rows = self.rows_of_store(final=final)
        self._history.tell(Stored(time.monotonic(), final, tuple(rows)))

    def rows_of_store(self, *, final: bool) -> list[Row]:
        """The same, for whoever has several such stores."""
        path = self._process.data / "tasks.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            verdict = store.execute("PRAGMA integrity_check").fetchall()
            if verdict != [("ok",)]:
                self._wrong(1, "store_is_sound", f"PRAGMA integrity_check says {verdict[:5]}")
            query = """
                SELECT tasks.id, tasks.metadata, tasks.state, idempotency.key
                FROM tasks LEFT JOIN idempotency USING (seq)
            """
            rows = [
                Row(str(uuid.UUID(bytes=task)), _op(metadata), STATES[state], key)
                for task, metadata, state, key in store.execute(query)
            ]
            named = _named(store)
        leased = [row.task for row in rows if row.state == "STARTED"]
        if leased:
            self._wrong(8, "nothing_left_over", f"leases of a stopped server: {leased[:5]}")
        folder = self._process.data / "tasks.db.payloads"
        there = {path.name for path in folder.glob("*/*")}
        if lost := named - there:
            self._wrong(
                1, "payloads_are_there", f"payload files that rows name and that are not there: {sorted(lost)[:5]}"
            )
        if final and (unnamed := there - named):
            self._wrong(8, "nothing_left_over", f"payload files that no row names: {sorted(unnamed)[:5]}")
        return rows

    def wait_swept(self) -> None:
        """Waits until no payload file lacks its row: each start removes what a crash left."""
        path = self._process.data / "tasks.db"
        folder = self._process.data / "tasks.db.payloads"
        limit = time.monotonic() + LONG
        while time.monotonic() < limit:
            there = {path.name for path in folder.glob("*/*")}
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
                named = _named(store)
            if there <= named:
                return
            self._pause.wait(0.05)


def _op(metadata: bytes | None) -> int | None:
    return None if metadata is None else json.loads(metadata).get("op")


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        return f"{pid} {words.replace(chr(0), ' ')}"
    except OSError:
        return f"{pid} (ended)"


def _named(store: sqlite3.Connection) -> set[str]:
    """The payload files that rows name."""
    query = "SELECT file FROM inputs UNION SELECT file FROM outcomes"
    return {name for (name,) in store.execute(query) if name is not None}
