"""An application on real Celery whose Redis sentinels watch: Cresset as its worker, and in front of its workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.exceptions import TimeoutError as NotInTime
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from served import free_port
from support.application import WHO, House, Redis, answering, furnished, house
from support.sentinel import Watched, watched_or_skip
from support.server import LONG, REPOSITORY
from support.shop import sentinel_shop
from support.wait import until

PEM = REPOSITORY / "crates" / "gateway" / "tests" / "it" / "pem"

pytestmark = [
    # Celery leaves sockets and results to the collector, which then says goodbye to a Redis that has gone.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A master, a replica, three sentinels."""
    made = watched_or_skip(tmp_path / "redis", password="secret", sentinel_password="own")
    yield made
    made.stop()


@pytest.fixture
def home(tmp_path: Path, watched: Watched) -> Iterator[House]:
    """An application whose broker and results are there, without a worker."""
    url = watched.url(2)
    options = {"broker_transport_options": watched.options, "result_backend_transport_options": watched.options}
    made = furnished(tmp_path, ExitStack(), url, url, 8, next(WHO), **options)
    found = House(**made, described={"transport": "redis"})
    with found.stack:
        yield found


def answered(app: Any, value: object) -> bool:
    """Whether a task is: a client whose connection was lost with the master may lose a task, too."""
    try:
        return app.send_task("proj.echo", (value,)).get(timeout=5) == value
    except (NotInTime, OperationalError, RedisError):
        return False


def broker_port(home: House) -> int | None:
    """Where the worker says that its broker is, if it can be asked."""
    with suppress(OperationalError, RedisError):  # the client's connections may be those to the last master
        stats = home.app.control.inspect([home.node], timeout=1).stats() or {}
        return stats.get(home.node, {}).get("broker", {}).get("port")
    return None


@pytest.mark.parametrize("how", ["kill_master", "failover"])
def test_a_client_is_answered_before_and_after_another_master(home: House, watched: Watched, how: str) -> None:
    ours = watched.ours(2)
    worker = home.worker(broker=ours, backend=ours)
    assert [home.app.send_task("proj.echo", (n,)).get(timeout=LONG) for n in range(20)] == list(range(20))
    assert home.app.control.ping([home.node], timeout=5)[0][home.node] == {"ok": "pong"}
    before = getattr(watched, how)()
    if how == "failover":
        # Until it is a replica a client of Celery may go on writing to it, to nobody.
        watched.follows(before)
    until(lambda: answered(home.app, {"after": how}), "answered")
    assert [home.app.send_task("proj.echo", (n,)).get(timeout=LONG) for n in range(20)] == list(range(20))
    until(lambda: broker_port(home) == watched.master, "heard at the new master")
    assert "another server is the master" in worker.log
    assert worker.stop() == 0
    assert "secret" not in worker.log


def test_tasks_that_a_worker_has_survive_its_master(home: House, watched: Watched) -> None:
    ours = watched.ours(2)
    home.worker(broker=ours, backend=ours)
    sent = [home.app.send_task("proj.echo", ({"sleep": 0.05, "give": n},)) for n in range(100)]
    until(sent[0].ready, "begun")
    # What the master has is passed on: nothing of it is lost with it.
    client = watched.client(watched.master)
    assert client.wait(1, 1000) == 1
    watched.kill_master()
    assert [task.get(timeout=LONG) for task in sent] == list(range(100))


def test_the_name_of_the_master_may_be_a_setting(home: House, watched: Watched) -> None:
    plain = watched.url(2) + "?sentinel_password=own"
    home.worker("--celery-master-name", "mymaster", broker=plain, backend=plain)
    assert home.app.send_task("proj.echo", ([1],)).get(timeout=LONG) == [1]


def test_tls_to_the_sentinels_and_to_the_server_behind_them(tmp_path: Path) -> None:
    tls = [["--tls-cert-file", "one.pem"], ["--tls-key-file", "one.key.pem"], ["--tls-ca-cert-file", "ca.pem"]]
    words = [word for name, file in tls for word in (name, str(PEM / file))] + ["--tls-auth-clients", "no"]
    with ExitStack() as stack:
        ports = [free_port(), free_port()]
        server = Redis(tmp_path, "--tls-port", str(ports[0]), *words)
        stack.callback(server.stop)
        settings = tmp_path / "sentinel.conf"
        plain = free_port()
        settings.write_text(
            f"port {plain}\nbind 127.0.0.1\ntls-port {ports[1]}\ntls-replication yes\n"
            f"sentinel monitor mymaster 127.0.0.1 {ports[0]} 1\n"
        )
        sentinel = answering(["redis-server", str(settings), "--sentinel", *words], plain)
        stack.callback(sentinel.wait, LONG)
        stack.callback(sentinel.kill)
        made = house(tmp_path, server)
        stack.enter_context(made.stack)
        url = f"sentinel://127.0.0.1:{ports[1]}/{made.db}?master_name=mymaster&ssl=true&sentinel_ssl=true"
        trusting = made.worker(broker=url, backend=url, env={"SSL_CERT_FILE": str(PEM / "ca.pem")})
        assert made.app.send_task("proj.echo", (1,)).get(timeout=LONG) == 1
        assert trusting.stop() == 0
        wary = made.start(broker=url, backend=url)
        line = wary.wait_log(lambda line: "broker cannot be used" in line, "that nobody here trusts who signed it")
        assert f"127.0.0.1:{ports[1]} says: " in line and "certificate" in line, line


def test_a_node_of_a_cluster_is_told_as_one(tmp_path: Path) -> None:
    server = Redis(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with ExitStack() as stack:
        stack.callback(server.stop)
        node = stack.enter_context(redis.Redis(port=server.port))
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        made = house(tmp_path, server)
        stack.enter_context(made.stack)
        worker = made.start(broker=server.url(), backend=server.url())
        worker.wait_log(lambda line: "this is a node of a Redis Cluster" in line, "told")


def test_celery_workers_are_sent_tasks_before_and_after_another_master(tmp_path: Path, watched: Watched) -> None:
    shop = sentinel_shop(tmp_path, watched)
    with shop.stack:
        shop.model("add")
        shop.worker(pool="solo")
        client = shop.client(shop.serve().wait_ready())
        assert [client.predict("add", [n, 1]) for n in range(10)] == [n + 1 for n in range(10)]
        before = watched.kill_master()
        watched.again(before)
        tasks = [client.submit("add", [n, 1]) for n in range(50)]
        assert [task.result(timeout=LONG) for task in tasks] == [n + 1 for n in range(50)]
