"""The deploy files with the real programs: checked by them, and started by them, with other paths and ports."""

from __future__ import annotations

import configparser
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dev_env
import django_site
import httpx
import pytest
import served
from support.models import ECHO, write_model
from support.postgres import Database
from support.programs import needed
from support.server import LONG, REPOSITORY, program

DEPLOY = REPOSITORY / "deploy"
MOST_EXPOSED = 4.0
"""What `systemd-analyze security` may say of the units, from 0 to 10; a service that says nothing of it has 9.6."""


def changed(text: str, changes: dict[str, str]) -> str:
    """A file with other paths and ports; each must be in it."""
    for old, new in changes.items():
        assert old in text, f"{old} is no more in the file"
        text = text.replace(old, new)
    return text


def until(fact: Callable[[], bool], what: str, log: Path) -> None:
    """Asks until a fact is true; the pause only keeps the asking civil."""
    pause = threading.Event()
    for _ in range(int(LONG / 0.05)):
        if fact():
            return
        pause.wait(0.05)
    raise AssertionError(f"never {what}:\n{log.read_text(errors='replace')[-3000:] if log.exists() else ''}")


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """Ends what a test has started."""
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, command: list[str], log: Path, environ: dict[str, str] | None = None) -> None:
    """Starts a program that ends with the test."""
    with log.open("ab") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, env=environ)
    stack.callback(served.stop, process)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with one small model."""
    write_model(tmp_path / "models", "echo", ECHO)
    return tmp_path / "models"


@pytest.fixture
def environ() -> dict[str, str]:
    """The environment, without what is of the tests alone."""
    return {name: value for name, value in os.environ.items() if name not in django_site.OURS}


@pytest.mark.parametrize("name", sorted(path.name for path in (DEPLOY / "systemd").iterdir()))
def test_systemd_finds_nothing_wrong_with_the_units(name: str, tmp_path: Path) -> None:
    analyze = needed("systemd-analyze")
    for unit in (DEPLOY / "systemd").iterdir():
        # The programs' paths are those of a deployment; it looks whether they are there.
        text = unit.read_text().replace("/usr/local/bin/cresset", str(program()))
        (tmp_path / unit.name).write_text(
            text.replace("/srv/site/venv/bin/python", sys.executable).replace("/srv/site/venv/bin/uwsgi", "/bin/true")
        )
    command = [analyze, "verify", "--man=no", "--recursive-errors=no", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    "name", ["cresset.service", "cresset-gateway.service", "cresset-worker@.service", "site.service"]
)
def test_systemd_calls_the_services_well_protected(name: str) -> None:
    analyze = needed("systemd-analyze")
    threshold = str(int(MOST_EXPOSED * 10))
    command = [
        analyze,
        "security",
        "--offline=yes",
        f"--threshold={threshold}",
        "--no-pager",
        str(DEPLOY / "systemd" / name),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_the_units_command_starts_and_says_so(models: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.read(DEPLOY / "systemd" / "cresset.service")
    changes = {
        "/usr/local/bin/cresset": str(program()),
        "/var/lib/cresset": str(tmp_path),
        "/srv/cresset/models": str(models),
    }
    command = shlex.split(changed(unit["Service"]["ExecStart"], changes))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, ExitStack() as stack:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LONG)
        usec = str(int(float(unit["Service"]["WatchdogSec"]) * 1e6))
        more = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": usec, "CRESSET_LISTEN": "127.0.0.1:0"}
        log = tmp_path / "log"
        start(stack, command, log, {**environ, **more})
        said = ""
        while not ("READY=1" in said and "WATCHDOG=1" in said):
            said += manager.recv(4096).decode() + "\n"
    assert unit["Service"]["Type"] == "notify"


def test_a_gateway_and_a_worker_start_as_their_units_say(
    models: Path, tmp_path: Path, environ: dict[str, str], database: Database, processes: ExitStack
) -> None:
    address = served.free_address()
    environ["CRESSET_STORE"] = database.url
    roles = [
        (
            "cresset-gateway.service",
            {"/var/lib/cresset-gateway": str(tmp_path / "gateway")},
            {"CRESSET_LISTEN": address},
        ),
        (
            "cresset-worker@.service",
            {"/var/lib/cresset-worker": str(tmp_path), "/srv/cresset/models": str(models), "%i": "echo"},
            {},
        ),
    ]
    log = tmp_path / "log"
    for name, changes, more in roles:
        unit = configparser.RawConfigParser(strict=False)
        unit.read(DEPLOY / "systemd" / name)
        command = shlex.split(
            changed(unit["Service"]["ExecStart"], {"/usr/local/bin/cresset": str(program()), **changes})
        )
        start(processes, command, log, {**environ, **more})

    def answers() -> bool:
        try:
            return httpx.post(f"http://{address}/v1/models/echo/predict", json={"input": 7}).status_code == 200
        except httpx.TransportError:
            return False

    until(answers, "answered", log)


def test_supervisor_runs_the_server_and_the_site(
    models: Path, tmp_path: Path, environ: dict[str, str], processes: ExitStack
) -> None:
    python = Path(dev_env.build("site", sys.executable))
    cresset, site = served.free_address(), served.free_address()
    data = tmp_path / "site-data"
    data.mkdir()
    text = (DEPLOY / "supervisor" / "cresset.conf").read_text()
    text = changed(
        text,
        {
            "/usr/local/bin/cresset": str(program()),
            "127.0.0.1:8700": cresset,
            "127.0.0.1:3031": site,
            "/var/lib/cresset": str(tmp_path / "data"),
            "/srv/cresset/models": str(models),
            "/srv/site/venv/bin": str(python.parent),
            "/srv/site": str(django_site.SITE),
            "/var/lib/site": str(data),
            "/var/log/supervisor": str(tmp_path),
            "user=cresset\n": "",
            "user=site\n": "",
        },
    )
    config = tmp_path / "supervisord.conf"
    head = f"[supervisord]\nnodaemon=true\nlogfile={tmp_path}/supervisord.log\npidfile={tmp_path}/supervisord.pid\n"
    control = (
        f"[unix_http_server]\nfile={tmp_path}/s.sock\n[supervisorctl]\nserverurl=unix://{tmp_path}/s.sock\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
    )
    config.write_text(head + control + text)
    migrate = [str(python), str(django_site.SITE / "manage.py"), "migrate", "--verbosity", "0"]
    subprocess.run(migrate, env={**environ, "SITE_DATA": str(data)}, check=True)
    log = tmp_path / "supervisord.log"
    start(processes, [str(python.parent / "supervisord"), "-c", str(config)], log, environ)
    until(lambda: served.is_ready(cresset), "ready", tmp_path / "cresset.log")

    def status() -> str:
        command = [str(python.parent / "supervisorctl"), "-c", str(config), "status"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    until(lambda: status().count("RUNNING") == 2, "both running", log)
    until(lambda: "spawned uWSGI worker 2" in (tmp_path / "site.log").read_text(), "workers", tmp_path / "site.log")
    with httpx.Client(base_url=f"http://{cresset}", timeout=LONG) as http:
        task = http.post("/v1/models/echo/tasks", json={"input": 7}, headers={"prefer": "wait=30"})
        assert task.json()["result"] == 7


def test_haproxy_carries_calls_while_the_server_is_ready(
    models: Path, tmp_path: Path, environ: dict[str, str], processes: ExitStack
) -> None:
    haproxy = needed("haproxy")
    cresset, door = served.free_address(), served.free_address()
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    config, log = tmp_path / "haproxy.cfg", tmp_path / "haproxy.log"
    config.write_text(
        changed(text, {"127.0.0.1:8700": cresset, "bind :8701": f"bind {door}", "inter 2s": "inter 50ms"})
    )
    checked = subprocess.run([haproxy, "-c", "-f", str(config)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    start(processes, [haproxy, "-db", "-f", str(config)], log)
    url = f"http://{door}"
    until(lambda: not refuses(door) and httpx.get(f"{url}/v1/models").status_code == 503, "answering 503", log)
    command = [str(program()), "serve", str(models), "--listen", cresset, "--data-dir", str(tmp_path / "data")]
    start(processes, command, tmp_path / "cresset.log", environ)
    until(lambda: httpx.get(f"{url}/v1/models").status_code == 200, "carried", log)
    with httpx.Client(base_url=url, timeout=LONG) as http:
        task = http.post("/v1/models/echo/tasks", json={"input": 7}).json()
        with http.stream("GET", f"/v1/tasks/{task['task_id']}/events") as events:
            assert '"SUCCESS"' in "".join(events.iter_text())
        assert http.get("/metrics").status_code == 404


def refuses(address: str) -> bool:
    """Whether nobody listens there."""
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


def test_the_files_that_are_here_are_the_files_that_the_readme_tells_of() -> None:
    told = (DEPLOY / "README.md").read_text()
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.name != "README.md":
            name = str(path.relative_to(DEPLOY))
            assert name in told, name
