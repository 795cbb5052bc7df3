"""Payloads that are large for a message between gateways and workers go by the database that both have."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.between import Between, ByRabbit, between_of, ended, submitted
from support.link import Link
from support.mariadb import MariaDatabase
from support.models import write_model
from support.postgres import Database, postgres_or_skip
from support.rabbit import largest_message
from support.roles import Start, model, starting, wait_state
from support.server import Server
from support.wait import until

#: Says what it got, and gives as much as it is asked for; one that names a gate begins, and waits until that is there.
ECHO = """
import time
import zlib
from pathlib import Path

def predict(batch):
    ends = []
    for value in batch:
        if gate := value.get("gate"):
            Path(gate + ".begun").touch()
            while not Path(gate).exists():
                time.sleep(0.005)
        ends.append({"got": zlib.crc32(value["data"].encode()), "out": "y" * value.get("make", 0)})
    return ends
"""
SETTINGS = "[batching]\nmax_batch_size = 2\n"
#: What RabbitMQ takes in one message, and more than that.
MESSAGE_MAX = 16 << 20
LARGE = 20 << 20
#: More than goes whole where it need not: enough for all that is not about what a message may hold.
SOME = 2 << 20
Store = Database | MariaDatabase


@pytest.fixture(params=["redis-postgresql", "rabbitmq-postgresql", "rabbitmq-mariadb"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Between, Store]]:
    """What is between gateways and workers, and the database beside it."""
    kind, store = request.param.split("-")
    database = postgres_or_skip() if store == "postgresql" else MariaDatabase()
    try:
        with between_of(kind, tmp_path / "redis") as between:
            yield between, database
    finally:
        database.drop()


@pytest.fixture
def store(both: tuple[Between, Store]) -> Store:
    """The database."""
    return both[1]


@pytest.fixture
def start(tmp_path: Path, both: tuple[Between, Store]) -> Iterator[Start]:
    """Starts gateways and workers on one broker."""
    with starting(tmp_path, both[0].url) as (begin, _):
        yield begin


@pytest.fixture
def bounded(both: tuple[Between, Store]) -> Iterator[None]:
    """RabbitMQ takes no more in one message than it does by default since its version 4."""
    with largest_message(MESSAGE_MAX) if isinstance(both[0], ByRabbit) else nullcontext():
        yield


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The model."""
    return write_model(tmp_path / "models", "who", ECHO, SETTINGS)


def data(size: int) -> str:
    """Text of this size in which no part is missed."""
    return "".join(f"{number:015x} " for number in range(size // 16))


def right(task: dict[str, Any], text: str, make: int = 0) -> None:
    """It has ended as it should."""
    assert task["status"] == "SUCCESS", task.get("error")
    result = task["result"]
    assert (result["got"], result["out"] == "y" * make) == (zlib.crc32(text.encode()), True), len(result["out"])


def watch(store: Store) -> None:
    """Notes each parcel that is put from now on."""
    if isinstance(store, Database):
        store.sql(
            "CREATE TABLE seen (size bigint); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO cresset.seen VALUES (length(NEW.bytes)); RETURN NEW; END $$; "
            "CREATE TRIGGER note AFTER INSERT ON parcels FOR EACH ROW EXECUTE FUNCTION note()"
        )
    else:
        store.sql(
            "CREATE TABLE seen (size BIGINT); CREATE TRIGGER note AFTER INSERT ON parcels FOR EACH ROW "
            "INSERT INTO seen SELECT LENGTH(NEW.bytes) FROM DUAL WHERE NEW.part = 0"
        )


def seen(store: Store) -> int:
    """How many have been put since."""
    return int(store.sql("SELECT count(*) FROM seen"))


def wait_empty(store: Store) -> None:
    """Waits until nothing is left."""
    until(lambda: store.sql("SELECT count(*) FROM parcels") == "0", "emptied")


def both_have(start: Start, models: Path, store: Store, *flags: str) -> tuple[Server, Server]:
    """A gateway and a worker that have the database, and know of each other."""
    gateway = start("gateway", None, "--results", store.url, *flags)
    worker = start("worker", models, "--results", store.url)
    wait_state(gateway, "ready")
    return gateway, worker


def begun(client: httpx.Client, gate: Path, **asked: object) -> str:
    """Where a task is that its worker has begun, and that waits for the gate."""
    place = submitted(client, asked | {"gate": str(gate)})
    until(Path(f"{gate}.begun").exists, "begun")
    return place


def wait_workers(gateway: Server, count: int) -> None:
    """Waits until so many do its work."""
    gateway.wait(lambda c: sum(one["ready"] for one in model(c).get("workers") or []) == count, "told of them")


@pytest.mark.usefixtures("bounded")
def test_what_is_larger_than_a_message_arrives_by_the_store_and_leaves_nothing(
    start: Start, models: Path, both: tuple[Between, Store]
) -> None:
    between, store = both
    gateway, worker = both_have(start, models, store)
    watch(store)
    # Redis takes 512 MiB in one message: there it is what is referred to because it is more than 1 MiB.
    size = LARGE if isinstance(between, ByRabbit) else SOME
    text = data(size)
    with gateway.http() as client:
        right(ended(client, submitted(client, {"data": "small", "make": 10})), "small", 10)
        assert seen(store) == 0, "what is small goes with its message"
        right(ended(client, submitted(client, {"data": text})), text)
        assert seen(store) == 1
        right(ended(client, submitted(client, {"data": "small", "make": size})), "small", size)
        assert seen(store) == 2
        with ThreadPoolExecutor(2) as pool:
            asked = {"input": {"data": text, "make": size}}
            answers = [pool.submit(client.post, "/v1/models/who/predict", json=asked) for _ in range(2)]
        for answer in (one.result() for one in answers):
            assert answer.status_code == 200, answer.text[:500]
            assert (answer.json()["result"]["got"], len(answer.json()["result"]["out"])) == (
                zlib.crc32(text.encode()),
                size,
            )
        assert seen(store) == 6
        task = ended(client, submitted(client, {"data": text, "gate": "/nowhere\u0000"}))
        assert task["status"] == "FAILURE", "a model's failure comes as ever"
    wait_empty(store)
    assert worker.stop() == gateway.stop() == 0
    assert "never-shown" not in worker.log + gateway.log


def test_a_worker_without_the_store_is_sent_all_of_it_and_so_is_everybody_beside_it(
    start: Start, models: Path, store: Store
) -> None:
    gateway = start("gateway", None, "--results", store.url)
    start("worker", models, "--results", store.url)
    other = start("worker", models)
    apart = start("gateway")
    for server in (gateway, apart):
        wait_workers(server, 2)
    watch(store)
    text = data(SOME)
    with gateway.http() as client, apart.http() as client_apart:
        places = [submitted(client, {"data": text}) for _ in range(6)]
        for place in places:
            right(ended(client, place), text)
        assert seen(store) == 0
        assert other.stop() == 0
        for server in (gateway, apart):
            wait_workers(server, 1)
        right(ended(client_apart, submitted(client_apart, {"data": text, "make": SOME})), text, SOME)
        assert seen(store) == 0, "that gateway has a store of its own"
        right(ended(client, submitted(client, {"data": text, "make": SOME})), text, SOME)
        assert seen(store) == 2
    wait_empty(store)


def test_who_is_to_send_all_of_it_does(start: Start, models: Path, store: Store) -> None:
    gateway, _ = both_have(start, models, store, "--celery-reference-above", "0B")
    watch(store)
    with gateway.http() as client:
        text = data(SOME)
        right(ended(client, submitted(client, {"data": text, "make": SOME})), text, SOME)
    assert seen(store) == 0


def test_a_worker_that_is_killed_with_a_large_input_leaves_it_to_the_next(
    start: Start, models: Path, store: Store, tmp_path: Path
) -> None:
    gateway, first = both_have(start, models, store)
    watch(store)
    gate, text = tmp_path / "gate", data(SOME)
    with gateway.http() as client:
        place = begun(client, gate, data=text, make=SOME)
        first.kill()
        gate.touch()
        start("worker", models, "--results", store.url)
        task = ended(client, place)
        right(task, text, SOME)
        assert task["attempts"] == 1, "its message went to the next worker"
    assert seen(store) == 2, "the input was put once, and found again"
    wait_empty(store)


def test_an_input_that_is_gone_is_sent_again_by_its_gateway(
    start: Start, models: Path, store: Store, tmp_path: Path
) -> None:
    gateway, first = both_have(start, models, store)
    gate, text = tmp_path / "gate", data(SOME)
    with gateway.http() as client:
        place = begun(client, gate, data=text)
        first.kill()
        gate.touch()
        store.sql("DELETE FROM parcels")
        start("worker", models, "--results", store.url)
        task = ended(client, place)
        right(task, text)
        assert task["attempts"] == 1
    assert "the input is not in the store any more" in gateway.log
    wait_empty(store)


@pytest.mark.usefixtures("bounded")
def test_what_the_store_loses_again_and_again_is_sent_whole_or_fails_in_words(
    start: Start, models: Path, both: tuple[Between, Store]
) -> None:
    between, store = both
    gateway, _ = both_have(start, models, store)
    if isinstance(store, Database):
        store.sql(
            "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
            "CREATE TRIGGER lose BEFORE INSERT ON parcels FOR EACH ROW EXECUTE FUNCTION lose()"
        )
    else:
        # What lacks a part is not there.
        store.sql("CREATE TRIGGER lose BEFORE INSERT ON parcels FOR EACH ROW SET NEW.parts = NEW.parts + 1")
    with gateway.http() as client:
        text = data(SOME)
        right(ended(client, submitted(client, {"data": text})), text)
        right(ended(client, submitted(client, {"data": "small", "make": SOME})), "small", SOME)
        if isinstance(between, ByRabbit):
            for asked, words in [
                ({"data": data(LARGE)}, "the message for the workers cannot be sent"),
                ({"data": "small", "make": LARGE}, "the result cannot be sent"),
            ]:
                large = ended(client, submitted(client, asked))
                assert large["status"] == "FAILURE" and words in large["error"]["message"], large.get("error")
    for words in ("the input is not in the store any more", "the result is not in the store any more"):
        assert words in gateway.log


def test_a_database_that_goes_away_costs_no_task(start: Start, models: Path, store: Store, tmp_path: Path) -> None:
    gateway, worker = both_have(start, models, store)
    gate, text = tmp_path / "gate", data(SOME)
    with gateway.http() as client:
        held = begun(client, gate, data=text, make=SOME)
        behind = [submitted(client, {"data": text}) for _ in range(3)]
        store.close()
        try:
            gate.touch()
            worker.wait_log(lambda line: "leave a result in the store" in line, "told that the store is away")
        finally:
            store.open()
        right(ended(client, held), text, SOME)
        for place in behind:
            right(ended(client, place), text)
    wait_empty(store)


@pytest.mark.parametrize("both", ["redis-postgresql", "rabbitmq-mariadb"], indirect=True)
def test_a_worker_that_alone_cannot_reach_the_database_leaves_its_work_to_others(
    start: Start, models: Path, store: Store, tmp_path: Path
) -> None:
    link = Link(("127.0.0.1", 0), store.at)
    gateway = start("gateway", None, "--results", store.url)
    lone = start("worker", models, "--results", store.url_by(link.address, "lone"))
    wait_workers(gateway, 1)
    gate, text = tmp_path / "gate", data(SOME)
    with gateway.http() as client, lone.http() as door:
        told = client.get("/v1/workers").json()["workers"]
        assert len({server["payload_store"] for server in told} - {None}) == 1, told
        held = begun(client, gate, data=text)
        link.set("cut")
        behind = [submitted(client, {"data": text}) for _ in range(6)]
        ready = until(lambda: (said := door.get("/health/ready")).status_code == 503 and said.json(), "not ready")
        assert ready["broker"].startswith("store for large payloads: "), ready
        gate.touch()
        start("worker", models, "--results", store.url)
        for place in [held, *behind]:
            right(ended(client, place), text)
        assert door.get("/health/ready").status_code == 503
        link.set("open")
        until(lambda: door.get("/health/ready").status_code == 200, "ready again")
    link.close()


def test_what_killed_servers_have_left_is_swept_by_whichever_gateway_is_there(
    start: Start, models: Path, store: Store, tmp_path: Path
) -> None:
    gateway = start("gateway", None, "--results", store.url, data="kept")
    worker = start("worker", models, "--results", store.url)
    wait_state(gateway, "ready")
    gate, text = tmp_path / "gate", data(SOME)
    with gateway.http() as client:
        place = begun(client, gate, data=text)
        gateway.kill()
    worker.kill()
    assert store.sql("SELECT count(*) FROM parcels") == "1"
    again = start("gateway", None, "--results", store.url)
    with again.http() as client:
        assert store.sql("SELECT count(*) FROM parcels") == "1", "its message may be delivered yet"
        assert again.stop() == 0
    store.sql(f"UPDATE parcels SET kept_at = kept_at - {3 * 3600 * 1_000_000}")
    gate.touch()
    last = start("gateway", None, "--results", store.url)
    last.wait_log(lambda line: "payloads were swept" in line, "swept")
    start("worker", models, "--results", store.url)
    with last.http() as client:
        right(ended(client, place), text)
    wait_empty(store)


@pytest.mark.parametrize("both", ["rabbitmq-postgresql"], indirect=True)
def test_tensors_go_by_the_store_as_they_are(start: Start, tmp_path: Path, store: Store) -> None:
    count = LARGE // 4
    settings = "".join(
        f'[[{what}]]\nname = "{name}"\ndtype = "uint8"\nshape = [{4 * count}]\n'
        for what, name in [("inputs", "x"), ("outputs", "y")]
    )
    code = "import torch\n\ndef predict(x: torch.Tensor) -> torch.Tensor:\n    return x ^ 255\n"
    folder = write_model(tmp_path / "models", "who", code, settings + "[batching]\nmax_batch_size = 1\n")
    gateway, _ = both_have(start, folder, store)
    watch(store)
    raw = bytes(number % 251 for number in range(1 << 16)) * (4 * count >> 16)
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({4 * count},), }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    body = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + raw
    with gateway.http() as client:
        answer: httpx.Response = client.post(
            "/v1/models/who/predict",
            content=body,
            headers={"content-type": "application/x-npy", "accept": "application/x-npy"},
        )
        assert answer.status_code == 200, answer.text[:500]
        assert answer.content[-len(raw) :] == raw.translate(bytes(byte ^ 255 for byte in range(256)))
    assert seen(store) == 2
    wait_empty(store)
