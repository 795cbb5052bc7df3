"""How requests are spread over httpx clients: enough of them, one connection each, none beside a caller's transport."""

from __future__ import annotations

import ssl
from contextlib import ExitStack

import httpx
import pytest

from cresset.client._pools import Pools, base_options, socket_path


class Maker:
    """Makes httpx clients and remembers with how many connections."""

    def __init__(self) -> None:
        self.connections: list[int] = []

    def __call__(self, limits: httpx.Limits) -> httpx.Client:
        assert limits.max_connections is not None
        self.connections.append(limits.max_connections)
        return httpx.Client(limits=limits, verify=False)


def hold(pools: Pools[httpx.Client], stack: ExitStack, count: int, *, is_wait: bool) -> list[httpx.Client]:
    """Takes so many turns that last until the stack is closed."""
    return [stack.enter_context(pools.turn(is_wait=is_wait)) for _ in range(count)]


def test_one_request_after_another_uses_one_httpx_client():
    make = Maker()
    pools = Pools(make)
    seen = set()
    for _ in range(100):
        with pools.turn(is_wait=False) as http:
            seen.add(id(http))
    assert len(seen) == len(make.connections) == 1


def test_every_connection_is_alone_and_all_fit_into_the_open_files_of_a_process():
    make = Maker()
    pools = Pools(make)
    with ExitStack() as stack:
        used = hold(pools, stack, 5000, is_wait=True)
        hold(pools, stack, 5000, is_wait=False)
    assert set(make.connections) == {1}
    assert 500 <= sum(make.connections) < 1024
    counts = [used.count(http) for http in set(used)]
    assert max(counts) - min(counts) <= 1


def test_waits_leave_the_connections_of_commands_alone():
    pools = Pools(Maker())
    with ExitStack() as stack:
        waits = hold(pools, stack, 1000, is_wait=True)
        (command,) = hold(pools, stack, 1, is_wait=False)
    assert command not in waits


def test_a_connection_that_is_free_again_is_used_before_more_are_made():
    make = Maker()
    pools = Pools(make)
    for _ in range(3):
        with ExitStack() as stack:
            hold(pools, stack, 40, is_wait=True)
    assert len(make.connections) == 40


def test_a_turn_that_fails_is_given_back():
    make = Maker()
    pools = Pools(make)
    for _ in range(100):
        with pytest.raises(httpx.ConnectError), pools.turn(is_wait=True):
            raise httpx.ConnectError("no")
    assert len(make.connections) == 1


def test_a_transport_of_the_callers_is_in_one_httpx_client_of_each_kind():
    make = Maker()
    pools = Pools(make, spread=False)
    with ExitStack() as stack:
        hold(pools, stack, 1000, is_wait=True)
        hold(pools, stack, 1000, is_wait=False)
    assert len(make.connections) == len(pools.take_all()) == 2


def test_certificates_are_loaded_once_for_all_and_only_for_https():
    assert base_options("http://127.0.0.1:8700", None, None, "test")["verify"] is False
    assert type(base_options("https://models.example", None, None, "test")["verify"]).__name__ == "SSLContext"


def test_a_socket_in_the_file_system_is_named_by_an_absolute_path():
    for url in ("unix:/run/x.sock", "unix:///run/x.sock", "http+unix://%2Frun%2Fx.sock"):
        assert socket_path(url) == "/run/x.sock"
        assert str(base_options(url, None, None, "test")["base_url"]) == "http://localhost"
    assert socket_path("http://127.0.0.1:8700") is None
    for wrong in ("unix:x.sock", "unix:", "http+unix://x"):
        with pytest.raises(ValueError, match="absolute path"):
            socket_path(wrong)


def test_whom_to_trust_may_be_said():
    given = ssl.create_default_context()
    assert base_options("https://models.example", None, None, "test", given)["verify"] is given
    with pytest.raises(FileNotFoundError):
        base_options("https://models.example", None, None, "test", "/no/such/ca.pem")
    assert base_options("http://models.example", None, None, "test", "/no/such/ca.pem")["verify"] is False
