"""What is measured: Cresset and its peers, as data, and how each is started."""

from __future__ import annotations

import array
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import bodies
from harness.environments import REPOSITORY, interpreter
from harness.process import Server, StartError, answer, favour, free_port

if TYPE_CHECKING:
    from typing_extensions import Self

SERVING = REPOSITORY / "benches" / "serving"
LOADGEN = REPOSITORY / "target" / "release" / "cresset-loadgen"
CRESSET = REPOSITORY / "target" / "release" / "cresset"
MODELS = {
    "mlp": SERVING / "models" / "mlp",
    "resnet18": SERVING / "models" / "resnet18",
    "gated": SERVING / "models" / "gated",
    "paced": SERVING / "models" / "paced",
    "embed": REPOSITORY / "examples" / "embed",
}


@dataclass(frozen=True)
class System:
    """A server, set up for one model."""

    name: str
    program: str
    """`cresset`, `ceiling`, or the name of a folder of peers/."""
    model: str = "mlp"
    inputs: str = ""
    """The bodies it is sent, where they are not named as the model is."""
    binary: bool = False
    workers: int = 1
    threads: int = 1
    environ: dict[str, str] = field(default_factory=dict[str, str])
    settings: dict[str, str] = field(default_factory=dict[str, str])
    """Cresset's: lines for tables of model.toml."""
    beside: tuple[str, ...] = ()
    """Cresset's: models served beside that one."""
    tasks: bool = False
    """Loaded with tasks rather than predictions."""
    database: str = ""
    """Cresset's: its store is a database of its own at this server, `postgresql://...` without a database."""
    poll_ms: int = 0
    """A peer that has tasks but no waiting: how often it is asked."""

    def on(self, model: str, *, binary: bool = False) -> System:
        """The same for another model."""
        return replace(self, model=model, binary=binary)

    @property
    def sent(self) -> str:
        """The name of its bodies."""
        return self.inputs or self.model

    @property
    def path(self) -> str:
        """Where bodies go."""
        if self.program == "cresset":
            return f"/v1/models/{self.model}/{'tasks' if self.tasks else 'predict'}"
        if self.tasks:
            return "/tasks"
        if self.program == "mosec":
            return "/inference"
        if self.program == "torchserve":
            return f"/predictions/{self.model}"
        return "/binary" if self.binary else "/predict"

    @property
    def result_path(self) -> str:
        """Where to ask for a task."""
        return "/v1/tasks/{id}?wait=30s" if self.program == "cresset" else "/tasks/{id}"


@dataclass(frozen=True)
class Place:
    """Where files go, and how the systems stand to others on the machine."""

    work: Path
    """Has the bodies and may be written to."""
    logs: Path
    favoured: bool = False
    """Measured processes go first."""


class Running:
    """A system that has been started and answers right. Stops when the context is left."""

    def __init__(self, system: System, place: Place, extra: dict[str, str] | None = None) -> None:
        """Starts it."""
        self.system = system
        self.port = free_port()
        self.sample: list[float] | None = None
        """The numbers that it answered to the first body."""
        self._own = Path(tempfile.mkdtemp(prefix=f"{system.program}-", dir=place.work))
        self._place = place
        log = place.logs / f"{system.name.replace(' ', '-').replace(',', '')}-{system.model}.log"
        command, environ = self._command()
        if system.database:
            # The name of a fresh folder is nobody else's.
            self._database = f"bench_{self._own.name.rpartition('-')[2]}"
            psql(system.database, f'create database "{self._database}"')
            environ["CRESSET_STORE"] = f"{system.database}/{self._database}"
        self.server = Server(
            system.name, command, {**environ, **(extra or {})}, log=log, cwd=self._own, favoured=place.favoured
        )

    def __enter__(self) -> Self:
        try:
            self.server.wait(self._answers, "answering")
            if self._place.favoured:
                favour(self.server.pid)  # what has made a session of its own since
        except BaseException:
            self.server.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        if self.system.database:
            psql(self.system.database, f'drop database "{self._database}" with (force)')
        shutil.rmtree(self._own, ignore_errors=True)

    def _command(self) -> tuple[list[str], dict[str, str]]:
        system = self.system
        # A model's threads must not spin beside the server, whoever starts them.
        environ = os.environ | {"OMP_NUM_THREADS": str(system.threads), "GOMP_SPINCOUNT": "0"}
        if system.program == "ceiling":
            return [str(LOADGEN), "ceiling", "--listen", f"127.0.0.1:{self.port}"], environ
        if system.program == "cresset":
            listen = ["--listen", f"127.0.0.1:{self.port}", "--data-dir", str(self._own / "data")]
            environ.pop("OMP_NUM_THREADS")  # Cresset decides for itself
            environ.pop("GOMP_SPINCOUNT")
            for model in (system.model, *system.beside):
                self._model(model)
            return [str(CRESSET), "serve", str(self._own / "models"), *listen, "--log-level", "warn"], environ
        folder = SERVING / "peers" / system.program
        requirements = SERVING / "models" if system.program == "bare" else folder
        python = interpreter(requirements.name, [requirements / "requirements.txt"])
        environ |= {
            "BENCH_MODEL": system.model,
            "BENCH_BODY": "binary" if system.binary else "json",
            "BENCH_PORT": str(self.port),
            "BENCH_WORKERS": str(system.workers),
            "BENCH_THREADS": str(system.threads),
            **system.environ,
        }
        return [str(python), str(folder / "serve.py")], environ

    def _model(self, model: str) -> None:
        """A copy of a model's folder, with the harness's interpreter and the system's settings."""
        source = MODELS[model]
        folder = self._own / "models" / source.name
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("requirements.txt", "__pycache__"))
        requirements = SERVING / "models" / "requirements.txt"
        python = interpreter("models", [requirements])
        text = (folder / "model.toml").read_text()
        for table, lines in {**self.system.settings, "environment": f'python = "{python}"'}.items():
            header = f"[{table}]\n"
            text = text.replace(header, header + lines + "\n") if header in text else f"{text}\n{header}{lines}\n"
        (folder / "model.toml").write_text(text)

    def _answers(self) -> bool:
        """Whether the first body is answered well. A server that answers wrongly is an error of the harness."""
        if self.system.program == "cresset" and answer(self.port, "GET", "/health/ready")[0] != 200:
            return False
        body, headers = bodies.first(self._place.work, self.system.sent, self.system.binary)
        status, got = answer(self.port, "POST", self.system.path, body, headers)
        if status in {0, 502, 503, 504}:
            return False
        if status not in {200, 202}:
            raise StartError(f"{self.system.name} answered {status}: {got[:500]!r}\n{self.server.log()[-2000:]}")
        if self.system.tasks:
            self._task = json.loads(got)["task_id"]
            self.server.wait(self._task_done, "done with a first task")
            return True
        self.sample = numbers(got, binary=self.system.binary)
        return True

    def _task_done(self) -> bool:
        """Whether the first task has succeeded: what answers submits need not have a worker yet."""
        return b'"SUCCESS"' in answer(self.port, "GET", self.system.result_path.format(id=self._task))[1]


def psql(server: str, command: str) -> None:
    """Has PostgreSQL do something.

    Raises:
        StartError: it is not there, or will not.
    """
    words = ["psql", "--no-password", "--quiet", "--command", command, f"{server}/postgres"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise StartError("there is no psql") from error
    if done.returncode != 0:
        raise StartError(f"psql: {done.stderr.strip()}")


def numbers(body: bytes, *, binary: bool) -> list[float]:
    """The numbers of an answer, to compare systems by."""
    if binary:
        return array.array("f", body).tolist()
    found: Any = json.loads(body)
    found = found["result"] if isinstance(found, dict) else found
    return found["embedding"] if isinstance(found, dict) else found
