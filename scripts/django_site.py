"""The example site as it really runs: Cresset, uWSGI, nginx in front, started in order and stopped again.

    python3 scripts/django_site.py --keep                          on http://127.0.0.1:8080, until Ctrl-C
    python3 scripts/django_site.py -- python client.py {url}       beside a command, on a free port

`--server gevent` has uWSGI run greenlets, `--server asgi` has uvicorn instead of it and of nginx. `--celery` starts a
Redis and a Celery worker as well, for the comparison; without redis-server it says so and goes on. `--python` is the
interpreter that the site runs on (scripts/dev_env.py site); nothing else but the standard library is needed here.
`DATABASE_URL` is the site's database, else SQLite in the run's folder.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import served

if TYPE_CHECKING:
    from collections.abc import Generator

REPO = Path(__file__).resolve().parent.parent
SITE = REPO / "examples" / "django"
NGINX_FILE = REPO / "deploy" / "nginx" / "django.conf"
SECONDS_TO_START = 30.0
SERVERS = ("uwsgi", "gevent", "asgi")
CELERY_PROCESSES = 8
"""As many models as the site has threads (uwsgi.ini) and Cresset instances (models/slow)."""
OURS = ("CRESSET_BIN", "CRESSET_URL", "CRESSET_ACCEL", "CRESSET_KEY")
"""Of the site and of tests: the program takes every CRESSET_ variable for a setting of its own."""

AROUND = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
worker_processes 1;
{user}
events {{ worker_connections 1024; }}
http {{
    include {mime};
    access_log off;
    {temporary}
    include {folder}/site.conf;
}}
"""
"""What nginx wants around a site's own file, when it is not the machine's."""


def program(name: str) -> str | None:
    """A program, also where only root's PATH has it."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def nginx_config(folder: Path, port: int, site: str, cresset: str, static: Path) -> Path:
    """Writes the files of an nginx of our own: the deployed one with other addresses, and what is around it."""
    changes = {
        "listen 80;": f"listen 127.0.0.1:{port};",
        "server 127.0.0.1:3031;": f"server {site};",
        "server 127.0.0.1:8700;": f"server {cresset};",
        "/srv/site/static/": f"{static}/",
        "include uwsgi_params;": "include /etc/nginx/uwsgi_params;",
    }
    text = NGINX_FILE.read_text()
    for old, new in changes.items():
        if old not in text:
            raise SystemExit(f"error: {NGINX_FILE.name} has no {old!r} any more; this script replaces it")
        text = text.replace(old, new)
    (folder / "site.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n    ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(AROUND.format(folder=folder, user=user, mime="/etc/nginx/mime.types", temporary=temporary))
    return config


def answers(address: str, path: str) -> bool:
    """Whether somebody answers with a success."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass
class Running:
    """The site, up."""

    url: str
    """Where browsers go: nginx, or uvicorn."""
    cresset: str
    """Where the Cresset server is."""
    folder: Path
    """What it writes, its logs included."""
    environ: dict[str, str]
    """What its processes were given."""
    server: subprocess.Popen[bytes]
    """uWSGI's master, or uvicorn."""

    def manage(self, python: str, *words: str) -> str:
        """What a command of manage.py prints."""
        command = [python, str(SITE / "manage.py"), *words]
        return subprocess.run(command, env=self.environ, check=True, capture_output=True, text=True).stdout


def child(stack: ExitStack, command: list[str], log: Path, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """Starts a process that is stopped with the stack. Its own session: a Ctrl-C is ours to pass on, once."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environ, start_new_session=True
        )
    stack.callback(lambda: served.stop(process) if process.poll() is None else None)
    return process


def wait(process: subprocess.Popen[bytes], address: str, path: str, log: Path, what: str) -> None:
    """Waits until a process answers; ends the program with the end of its log when it does not."""
    started = time.monotonic()
    while not answers(address, path):
        if process.poll() is not None:
            served.fail(f"{what} ended with status {process.returncode} before it answered", log)
        if time.monotonic() - started > SECONDS_TO_START:
            served.fail(f"{what} did not answer within {SECONDS_TO_START:.0f} s", log)
        time.sleep(served.SECONDS_BETWEEN_LOOKS)


def uwsgi_command(python: str, server: str) -> list[str]:
    """The command that runs the site."""
    uwsgi = str(Path(python).parent / "uwsgi")
    command = [uwsgi, "--ini", str(SITE / "uwsgi.ini")]
    if server == "gevent":
        # Greenlets instead of threads, everything that blocks patched before the site is loaded.
        command += ["--threads", "1", "--gevent", "100", "--gevent-early-monkey-patch"]
    return command


def start_celery(stack: ExitStack, python: str, folder: Path, given: dict[str, str]) -> None:
    """Starts a Redis at a port of its own and a worker of the site's Celery, and waits until the worker answers."""
    redis = program("redis-server")
    if redis is None:
        raise SystemExit("error: redis-server is not installed. On Debian or Ubuntu: apt install redis-server")
    port = given["SITE_CELERY"].rpartition(":")[2].partition("/")[0]
    log = folder / "redis.log"
    words = [redis, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", str(folder)]
    store = child(stack, words, log, given)
    celery = [python, "-m", "celery", "--app", "webapp.celery", "--workdir", str(SITE)]
    worker_log = folder / "celery.log"
    words = [*celery, "worker", "--pool", "prefork", "--concurrency", str(CELERY_PROCESSES), "--loglevel", "INFO"]
    worker = child(stack, words, worker_log, given)
    ask = [*celery, "inspect", "--timeout", "1", "ping"]
    started = time.monotonic()
    while subprocess.run(ask, env=given, capture_output=True, check=False).returncode != 0:
        for process, what, where in ((store, "Redis", log), (worker, "Celery's worker", worker_log)):
            if process.poll() is not None:
                served.fail(f"{what} ended with status {process.returncode} before it answered", where)
        if time.monotonic() - started > SECONDS_TO_START:
            served.fail(f"Celery's worker did not answer within {SECONDS_TO_START:.0f} s", worker_log)


@contextmanager
def running(  # noqa: PLR0913  # options are keywords
    python: str,
    *,
    server: str = "uwsgi",
    models: Path = SITE / "models",
    port: int | None = None,
    cresset_program: Path = served.SERVER,
    celery: bool = False,
    environ: dict[str, str] | None = None,
) -> Generator[Running, None, None]:
    """Starts everything, gives it, stops everything."""
    nginx = program("nginx")
    if nginx is None and server != "asgi":
        raise SystemExit("error: nginx is not installed. On Debian or Ubuntu: apt install nginx-light")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cresset-site-")))
        folder.chmod(0o755)
        cresset, backend = served.free_address(), served.free_address()
        front = f"127.0.0.1:{port}" if port else served.free_address()
        given = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "webapp.settings",
            "SITE_DATA": str(folder),
            "SITE_SOCKET": backend,
            "SITE_PYTHON": python,
            "SITE_ORIGIN": f"http://{front}",
            "CRESSET_URL": f"http://{cresset}",
            "CRESSET_ACCEL": "" if server == "asgi" else "/_cresset",
            **({"SITE_CELERY": f"redis://{served.free_address()}/0"} if celery else {}),
            **(environ or {}),
        }
        given.pop("PYTHONHOME", None)
        log = folder / "cresset.log"
        command = [
            str(cresset_program),
            "serve",
            str(models),
            "--listen",
            cresset,
            "--data-dir",
            str(folder / "cresset"),
        ]
        plain = {name: value for name, value in os.environ.items() if name not in OURS}
        inference = child(stack, command, log, plain)
        for words in (("migrate", "--verbosity", "0"), ("collectstatic", "--noinput", "--verbosity", "0")):
            subprocess.run([python, str(SITE / "manage.py"), *words], env=given, check=True)
        served.wait_ready(inference, cresset, log)
        if celery:
            start_celery(stack, python, folder, given)
        log = folder / "site.log"
        if server == "asgi":
            host, number = front.split(":")
            uvicorn = [python, "-m", "uvicorn", "webapp.asgi:application", "--app-dir", str(SITE)]
            site = child(stack, [*uvicorn, "--host", host, "--port", number, "--no-access-log"], log, given)
            wait(site, front, "/about", log, "uvicorn")
        else:
            site = child(stack, uwsgi_command(python, server), log, given)
            config = nginx_config(folder, int(front.split(":")[1]), backend, cresset, folder / "static")
            assert nginx is not None
            front_log = folder / "nginx.log"
            proxy = child(stack, [nginx, "-p", str(folder), "-e", str(front_log), "-c", str(config)], front_log, given)
            wait(proxy, front, "/static/cresset/client.js", front_log, "nginx")
            wait(site, front, "/about", log, "uWSGI")
        yield Running(f"http://{front}", f"http://{cresset}", folder, given, site)


def main() -> int:
    """Starts, runs the command, stops."""
    parser = argparse.ArgumentParser(description="Run the example site: Cresset, uWSGI and nginx.")
    parser.add_argument("--python", default=sys.executable, help="the site's interpreter (scripts/dev_env.py site)")
    parser.add_argument("--server", choices=SERVERS, default="uwsgi")
    parser.add_argument(
        "--port", type=int, default=None, help="nginx's port (default: 8080 with --keep, else a free one)"
    )
    parser.add_argument("--keep", action="store_true", help="serve on after the command, until Ctrl-C")
    parser.add_argument("--cresset", type=Path, default=served.SERVER, help="the server's program (default: release)")
    parser.add_argument("--celery", action="store_true", help="a Celery worker too, where there is redis-server")
    parser.add_argument("command", nargs="*", help="after --, the command; {url} stands for the site's address")
    wanted = parser.parse_args()
    # As in served.py: so that a kill of this program stops them all, and a Ctrl-C also when a shell started it aside.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    port: int | None = wanted.port or (8080 if wanted.keep else None)
    status = 0
    celery = wanted.celery and program("redis-server") is not None
    if wanted.celery and not celery:
        served.say("Celery is left out: redis-server is not installed (Debian, Ubuntu: apt install redis-server)")
    try:
        with running(
            wanted.python, server=wanted.server, port=port, cresset_program=wanted.cresset, celery=celery
        ) as site:
            served.say(f"the site is at {site.url}, Cresset at {site.cresset}; logs are in {site.folder}")
            if wanted.command:
                words = [word.replace("{url}", site.url) for word in wanted.command]
                status = subprocess.run(words, check=False).returncode
            if wanted.keep and status == 0:
                served.say("Ctrl-C stops it")
                site.server.wait()
                served.fail(f"the site ended by itself with status {site.server.returncode}", site.folder / "site.log")
    except KeyboardInterrupt:
        served.say("stopping")
    return status


if __name__ == "__main__":
    sys.exit(main())
