"""Under a service manager: readiness, watchdog, and a listening socket that outlives the server."""

from __future__ import annotations

import configparser
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import served
from conftest import Serve
from support.handover import start_on
from support.models import ECHO, write_model
from support.server import LONG, REPOSITORY


class Manager:
    """The manager's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        """Binds it."""
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(LONG)

    def wait_for(self, line: str) -> list[str]:
        """Reads messages until one has this line; gives all lines read."""
        lines: list[str] = []
        while line not in lines:
            lines += self._socket.recv(4096).decode().splitlines()
        return lines

    def close(self) -> None:
        """Closes it."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager."""
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_the_manager_is_told_of_start_progress_and_stop(serve: Serve, tmp_path: Path, manager: Manager) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, env={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "300000"})
    assert "STATUS=0 of 1 models ready" in manager.wait_for("READY=1")
    server.wait_ready()
    manager.wait_for("STATUS=1 of 1 models ready")
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    manager.wait_for("STOPPING=1")
    stopping.join(LONG)
    assert server.process.returncode == 0, server.log


def test_a_restart_behind_a_kept_socket_refuses_no_connection(tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop = threading.Event()

    def ask(worker: int) -> int:
        """Asks on a new connection each time; a connection must never be refused or reset."""
        done = 0
        while not stop.is_set():
            answer = httpx.get(f"{url}/health/live", timeout=LONG)
            assert answer.status_code == 200, answer.text
            done += 1
        return done

    first = start_on([listener], models, tmp_path / "data")
    second = None
    try:
        assert httpx.get(f"{url}/health/live", timeout=LONG).status_code == 200
        with ThreadPoolExecutor(8) as pool:
            callers = [pool.submit(ask, i) for i in range(8)]
            try:
                first.terminate()
                assert first.wait(LONG) == 0
                second = start_on([listener], models, tmp_path / "data")
                submitted = httpx.post(f"{url}/v1/models/echo/tasks", json={"input": 1}, timeout=LONG)
                assert submitted.status_code == 202, submitted.text
            finally:
                stop.set()
            assert sum(caller.result(LONG) for caller in callers) > 0
    finally:
        for process in (first, second):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(LONG)
        listener.close()


class Kept:
    """Listening sockets that outlive a server, and a server on them."""

    def __init__(self, folder: Path) -> None:
        """Has none yet; `folder` is for sockets, data and logs."""
        self.folder = folder
        self.models = write_model(folder / "models", "echo", ECHO)
        self._stack = ExitStack()

    def tcp(self) -> socket.socket:
        """Opens a port."""
        return self._stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))

    def unix(self, name: str) -> socket.socket:
        """Opens a socket in the file system."""
        made = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        made.bind(str(self.folder / name))
        made.listen(128)
        return made

    def start(self, names: str | None, *sockets: socket.socket, flags: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Starts a server on them."""
        data, log = self.folder / "data", self.folder / "log"
        server = start_on(sockets, self.models, data, *flags, names=names, log=log)
        self._stack.callback(self.end, server)
        return server

    @staticmethod
    def end(server: subprocess.Popen[bytes]) -> None:
        """Whatever happened, it does not go on."""
        server.kill()
        server.wait(LONG)

    def refused(self, names: str | None, *sockets: socket.socket, flags: tuple[str, ...] = ()) -> str:
        """Gives what a server says that does not start on them."""
        assert self.start(names, *sockets, flags=flags).wait(LONG) == 69, (self.folder / "log").read_text()
        return (self.folder / "log").read_text()

    def close(self) -> None:
        """Ends all of it."""
        self._stack.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """Sockets to hand over."""
    kept = Kept(tmp_path)
    yield kept
    kept.close()


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def by(path: Path) -> httpx.Client:
    """A client that comes in by a socket in the file system."""
    transport = httpx.HTTPTransport(uds=str(path))
    return httpx.Client(base_url="http://localhost", transport=transport, timeout=LONG)


def test_each_socket_is_used_as_its_name_says_and_outlives_the_server(kept: Kept, tmp_path: Path) -> None:
    http, admin, unix = kept.tcp(), kept.tcp(), kept.unix("door.sock")
    for _ in range(2):
        server = kept.start("unix:admin:http", unix, admin, http)
        assert httpx.get(f"{url_of(http)}/health/live", timeout=LONG).status_code == 200
        assert httpx.get(f"{url_of(http)}/metrics", timeout=LONG).status_code == 404
        assert "cresset_connections" in httpx.get(f"{url_of(admin)}/metrics", timeout=LONG).text
        with by(tmp_path / "door.sock") as client:
            task = client.post("/v1/models/echo/tasks", json={"input": 7}, headers={"prefer": "wait=30"})
            assert task.json()["result"] == 7, task.text
            assert client.get("/metrics").status_code == 404
        server.terminate()
        assert server.wait(LONG) == 0
        assert (tmp_path / "door.sock").exists(), "it is the manager's, not the server's"
    log = (tmp_path / "log").read_text()
    for where in (url_of(http), url_of(admin), f"unix:{tmp_path / 'door.sock'}"):
        assert where in log, log


def test_what_is_not_handed_over_is_opened_as_the_settings_say(kept: Kept, tmp_path: Path) -> None:
    admin, listen = kept.unix("admin.sock"), served.free_address()
    kept.start("admin", admin, flags=("--listen", listen))
    with by(tmp_path / "admin.sock") as operator:
        assert "cresset_connections" in operator.get("/metrics").text
    assert httpx.get(f"http://{listen}/metrics", timeout=LONG).status_code == 404


def test_an_open_port_that_is_handed_over_is_said_loudly(kept: Kept, tmp_path: Path) -> None:
    said = "ANYBODY WHO CAN REACH THIS ADDRESS"
    with socket.create_server(("0.0.0.0", 0)) as wide:  # that is the mistake
        kept.start("http", wide)
        port = wide.getsockname()[1]
        assert httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=LONG).status_code == 200
        log = (tmp_path / "log").read_text()
        assert said in log and f"0.0.0.0:{port}" in log, log


def test_an_address_of_the_settings_that_a_socket_stands_for_is_not_called_open(kept: Kept, tmp_path: Path) -> None:
    one = kept.tcp()
    kept.start("http", one, flags=("--listen", "0.0.0.0:8700"))
    assert httpx.get(f"{url_of(one)}/health/live", timeout=LONG).status_code == 200
    assert "ANYBODY WHO CAN REACH" not in (tmp_path / "log").read_text()


def test_sockets_under_names_that_systemd_gives_are_known(kept: Kept) -> None:
    one = kept.tcp()
    for names in ("cresset.socket", "unknown", "", "http"):
        server = kept.start(names, one)
        assert httpx.get(f"{url_of(one)}/metrics", timeout=LONG).status_code == 200
        server.terminate()
        assert server.wait(LONG) == 0


def test_a_socket_that_cannot_serve_is_refused_with_a_reason(kept: Kept, tmp_path: Path) -> None:
    one, two, unix = kept.tcp(), kept.tcp(), kept.unix("door.sock")
    for names, sockets, why in [
        ("http:metrics", (one, two), 'one is called "metrics", which is none of `http`, `https`, `unix` and `admin`'),
        (None, (one, two), "there are 2, and one has no name of its own"),
        ("cresset.socket:cresset.socket", (one, two), "what it is for is not known"),
        ("http", (one, two), "there are 2, and 1 names in LISTEN_FDNAMES"),
        ("http:unix", (one, two), "number 2 of 2, unix: it is a TCP port"),
        ("https", (one,), "`https` speaks TLS, and there is no certificate"),
        ("https", (unix,), "where nobody speaks TLS"),
    ]:
        said = kept.refused(names, *sockets)
        assert why in said and "FileDescriptorName=" in said, said
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wrong, socket.socket() as deaf:
        wrong.bind(str(tmp_path / "datagrams"))
        deaf.bind(("127.0.0.1", 0))
        assert "neither a TCP port nor a socket of streams" in kept.refused(None, wrong)
        assert "it does not listen" in kept.refused("admin", deaf)


def test_the_names_in_the_socket_units_are_those_that_the_server_takes(kept: Kept) -> None:
    names = []
    for unit in sorted((REPOSITORY / "deploy" / "systemd").glob("*.socket")):
        read = configparser.RawConfigParser(strict=False)
        read.read(unit)
        names.append(read["Socket"]["FileDescriptorName"])
        assert read["Socket"]["Service"] == "cresset.service"
    assert sorted(names) == ["admin", "http", "unix"]
    sockets = [kept.unix(name) if name == "unix" else kept.tcp() for name in names]
    kept.start(":".join(names), *sockets)
    for name, one in zip(names, sockets, strict=True):
        if name != "unix":
            assert httpx.get(f"{url_of(one)}/health/live", timeout=LONG).status_code == 200
