"""A real server, started and stopped by a test."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cresset
import httpx

REPOSITORY = Path(__file__).resolve().parents[2]
#: Nothing in a test takes longer; a hang fails here, with the server's log.
LONG = 60.0

#: CRESSET_BIN is for us; the program takes every CRESSET_ variable for a setting.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "CRESSET_BIN"}
_LISTENING = re.compile(r"http://[0-9.]+:\d+")


def program() -> Path:
    """The `cresset` program under test: `CRESSET_BIN`, else the newest build."""
    if given := os.environ.get("CRESSET_BIN"):
        return Path(given).resolve()
    builds = [REPOSITORY / "target" / kind / "cresset" for kind in ("release", "debug")]
    built = [path for path in builds if path.exists()]
    if not built:
        raise RuntimeError("no cresset program: run `cargo build` or set CRESSET_BIN")
    return max(built, key=lambda path: path.stat().st_mtime)


class Server:
    """`cresset serve`, or another command, on a free port.

    Its log is kept, line by line, for waiting on facts and for failures.
    """

    def __init__(
        self,
        models: Path | None,
        data_dir: Path,
        *flags: str,
        env: dict[str, str] | None = None,
        command: str = "serve",
    ) -> None:
        """Starts the program; `wait_listening` and `wait_ready` say when it can be used."""
        self.data_dir = data_dir
        folder = [] if models is None else [str(models)]
        words = [str(program()), command, *folder, "--data-dir", str(data_dir)]
        if "--listen" not in flags:
            words += ["--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*words, *flags],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            cwd=data_dir.parent,
            env={**_ENVIRONMENT, **(env or {})},
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._url: str | None = None

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def log(self) -> str:
        """All the server has logged so far."""
        with self._changed:
            return "".join(self._lines)

    def wait_log(self, fact: Callable[[str], bool], what: str) -> str:
        """Waits until a line of the log satisfies `fact`, and gives that line."""
        seen = 0

        def found() -> str | None:
            nonlocal seen
            while seen < len(self._lines):
                seen += 1
                if fact(self._lines[seen - 1]):
                    return self._lines[seen - 1]
            return None

        hit: str | None = None

        def done() -> bool:
            nonlocal hit
            hit = found()
            return hit is not None or self._ended

        with self._changed:
            self._changed.wait_for(done, timeout=LONG)
        if hit is None:
            raise AssertionError(f"the log never said {what}:\n{self.log}")
        return hit

    @property
    def url(self) -> str:
        """Where it listens."""
        if self._url is None:
            line = self.wait_log(lambda text: "listening" in text and "http://" in text, "where it listens")
            match = _LISTENING.search(line)
            assert match, line
            self._url = match.group()
        return self._url

    def http(self) -> httpx.Client:
        """A client for it; one connection pool, fit for many threads.

        The pool keeps every connection. Over a limit of idle ones httpcore (1.0.9) also closes connections that it has
        just handed to another thread, whose request then fails with a bad file descriptor.
        """
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return httpx.Client(base_url=self.url, timeout=LONG, limits=limits)

    def wait_ready(self) -> Server:
        """Waits until every model is ready."""
        self.wait(lambda c: c.get("/health/ready").status_code == 200, "ready")
        return self

    def wait(self, fact: Callable[[httpx.Client], bool], what: str) -> None:
        """Asks until `fact` is true; the pause only keeps the asking civil, the fact decides."""
        pause = threading.Event()
        with self.http() as client:
            for _ in range(int(LONG / 0.02)):
                if self.process.poll() is not None:
                    raise AssertionError(f"the server ended before it was {what}:\n{self.log}")
                if fact(client):
                    return
                pause.wait(0.02)
        raise AssertionError(f"the server was never {what}:\n{self.log}")

    def opens(self, key: str) -> bool:
        """Whether it takes this key or token."""
        with cresset.Client(self.url, key=key, retries=0) as client:
            try:
                client.models()
            except cresset.Unauthorized:
                return False
            except cresset.ApiError as error:
                if error.code != "issuer_unavailable":
                    raise
                return False
            return True

    def instance_pids(self, model: str) -> list[int]:
        """The processes of a model."""
        with self.http() as client:
            instances = client.get(f"/v1/models/{model}").raise_for_status().json()["instances"]
        return [i["pid"] for i in instances if i.get("pid")]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; 0 when there is none."""
        with self.http() as client:
            text = client.get("/metrics").raise_for_status().text
        total = 0.0
        for line in text.splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all(f'{k}="{v}"' in head for k, v in labels.items()):
                total += float(value)
        return total

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(LONG)

    def stop(self) -> int:
        """SIGTERM, then waits for the end; gives the exit status. A second call does no harm."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(LONG)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the server did not stop:\n{self.log}") from None
        self._reader.join(LONG)
        return status

    def ended(self) -> int:
        """Waits for an end that nobody asked for, and for the last line of the log; gives the exit status."""
        status = self.process.wait(LONG)
        self._reader.join(LONG)
        return status

    def close(self) -> None:
        """Whatever happened in the test, nothing is left running."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LONG)
        self._reader.join(LONG)
        if self.process.stderr is not None:
            self.process.stderr.close()


def run_cli(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs one `cresset` command to its end."""
    done = subprocess.run(
        [str(program()), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
        env=_ENVIRONMENT,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"cresset {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done


def as_json(text: str) -> Any:
    """Text as JSON, with the text in the error."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise AssertionError(f"not JSON ({error}): {text!r}") from error
