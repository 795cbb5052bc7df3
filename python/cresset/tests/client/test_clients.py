"""Both clients against a mock server: the whole way through httpx, without a network."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import cresset
from cresset.testing import MockServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def fail(_: Any) -> Any:
    raise KeyError("gone")


def server(**options: Any) -> MockServer:
    return MockServer({"double": lambda x: x * 2, "fail": fail, "nan": lambda _: float("nan")}, **options)


def test_submit_status_and_result():
    mock = server(run_at_submit=False)
    with mock.client() as client:
        handle = client.submit("double", 21, priority=3, metadata={"a": 1})
        status = handle.status()
        assert (status.id, status.status, status.priority, status.metadata) == (handle.id, "PENDING", 3, {"a": 1})
        with pytest.raises(cresset.TaskTimeout):
            handle.result(timeout=0)
        assert mock.run_pending() == 1
        assert handle.result(timeout=1) == 42
        assert handle.wait().status == "SUCCESS"
        assert client.task(handle.id).result() == 42
    assert mock.submitted("double") == [21]


def test_failures_revocations_and_unknown_things():
    mock = server(run_at_submit=False)
    with mock.client() as client:
        failing, doomed = client.submit("fail", 1), client.submit("double", 1)
        mock.revoke(doomed.id, "not needed")
        mock.run_pending()
        with pytest.raises(cresset.TaskFailed) as failed:
            failing.result()
        assert (failed.value.error.type, failed.value.error.message) == ("KeyError", "'gone'")
        with pytest.raises(cresset.TaskRevoked, match="not needed"):
            doomed.result()
        with pytest.raises(cresset.UnknownModel, match="did you mean double"):
            client.submit("doubel", 1)
        with pytest.raises(cresset.UnknownTask):
            client.task("nope").status()
        with pytest.raises(cresset.PredictFailed) as predicted:
            client.predict("nan", 1)
        assert predicted.value.error.code == "non_finite_output"


def test_refusals_are_ridden_out_or_raised():
    mock = server()
    with mock.client() as client:
        mock.refuse("queue_full", times=3)
        assert client.submit("double", 1).result() == 2
        mock.refuse("model_unavailable", retry_after=None)
        with pytest.raises(cresset.ModelUnavailable):
            client.predict("double", 1)
    with mock.client(retries=0) as client:
        mock.refuse("overloaded")
        with pytest.raises(cresset.Overloaded):
            client.predict("double", 1)


def test_predict_models_and_health():
    with server().client() as client:
        assert client.predict("double", [1]) == [1, 1]
        assert [model.name for model in client.models()] == ["double", "fail", "nan"]
        model = client.model("double")
        assert (model.kind, model.state, model.inputs, model.queued) == ("object", "ready", (), 0)
        assert client.health().ready


def test_a_closed_client_says_so():
    client = server().client()
    client.predict("double", 1)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.predict("double", 1)


@pytest.mark.parametrize("url", ["127.0.0.1:8700", "ftp://x", "http://", "nonsense"])
def test_a_base_url_that_is_none_is_refused(url: str):
    with pytest.raises(ValueError, match="base_url"):
        cresset.Client(url)


def test_a_base_url_with_a_path_and_headers_are_kept():
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"result": 1, "model": "m", "version": "1"})

    transport = httpx.MockTransport(handle)
    with cresset.Client(
        "https://x.example/cresset/", headers={"authorization": "Bearer t"}, transport=transport
    ) as client:
        client.predict("m", 1)
    (request,) = seen
    assert str(request.url) == "https://x.example/cresset/v1/models/m/predict"
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"cresset-python/{cresset.__version__}"


def test_a_server_that_is_not_there_is_a_failed_connection():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with cresset.Client(url, retries=1) as client, pytest.raises(cresset.ConnectionFailed, match=url) as error:
        client.submit("m", 1)
    assert isinstance(error.value, ConnectionError)
    assert isinstance(error.value.__cause__, ConnectionRefusedError)


class TestMap:
    def test_results_come_in_input_order(self):
        with server().client() as client:
            assert list(client.map("double", range(200), in_flight=16)) == [2 * n for n in range(200)]

    def test_unordered_gives_every_result(self):
        with server().client() as client:
            assert sorted(client.map("double", range(50), in_flight=4, ordered=False)) == [2 * n for n in range(50)]

    def test_inputs_are_read_only_as_far_as_in_flight(self):
        read = 0

        def inputs() -> Iterator[int]:
            nonlocal read
            while True:
                read += 1
                yield read

        with server().client() as client:
            results = client.map("double", inputs(), in_flight=3)
            assert read == 0
            assert [next(results) for _ in range(5)] == [2, 4, 6, 8, 10]
            assert read <= 9
            results.close()

    def test_an_error_is_raised_in_its_place(self):
        mock = MockServer({"pick": lambda x: 10 // x})
        with mock.client() as client:
            results = client.map("pick", [5, 0, 2])
            assert next(results) == 2
            with pytest.raises(cresset.TaskFailed, match="ZeroDivisionError"):
                next(results)

    def test_errors_can_be_had_in_place_of_results(self):
        mock = MockServer({"pick": lambda x: 10 // x})
        with mock.client() as client:
            first, second, third = client.map("pick", [5, 0, 2], return_exceptions=True)
        assert (first, third) == (2, 5)
        assert isinstance(second, cresset.TaskFailed)

    def test_in_flight_has_bounds(self):
        with server().client() as client:
            for wrong in (0, 257):
                with pytest.raises(ValueError, match="in_flight"):
                    client.map("double", [], in_flight=wrong)
            assert list(client.map("double", [])) == []


class TestAsync:
    def test_every_call(self):
        async def main() -> None:
            mock = server(run_at_submit=False)
            async with mock.async_client() as client:
                handle = await client.submit("double", 4)
                assert (await handle.status()).status == "PENDING"
                with pytest.raises(cresset.TaskTimeout):
                    await handle.result(timeout=0)
                mock.run_pending()
                assert await handle.result() == 8
                assert (await client.task(handle.id).wait()).is_final
                assert await client.predict("double", "ab") == "abab"
                assert [model.name for model in await client.models()] == ["double", "fail", "nan"]
                assert (await client.model("fail")).name == "fail"
                assert (await client.health()).ready
            with pytest.raises(RuntimeError, match="closed"):
                await client.predict("double", 1)

        asyncio.run(main())

    def test_map_takes_both_kinds_of_inputs(self):
        async def numbers() -> AsyncIterator[int]:
            for number in range(30):
                yield number

        async def main() -> None:
            async with server().async_client() as client:
                assert [x async for x in client.map("double", range(300), in_flight=100)] == [2 * n for n in range(300)]
                got = [x async for x in client.map("double", numbers(), in_flight=7, ordered=False)]
                assert sorted(got) == [2 * n for n in range(30)]
                with pytest.raises(ValueError, match="in_flight"):
                    client.map("double", [], in_flight=0)

        asyncio.run(main())

    def test_map_raises_in_place_and_stops(self):
        async def main() -> None:
            mock = MockServer({"pick": lambda x: 10 // x})
            async with mock.async_client() as client:
                results = client.map("pick", [5, 0, 2], in_flight=1)
                assert await anext_(results) == 2
                with pytest.raises(cresset.TaskFailed):
                    await anext_(results)
                three = [x async for x in client.map("pick", [5, 0, 2], return_exceptions=True)]
                assert isinstance(three[1], cresset.TaskFailed)
                left = client.map("pick", [1, 2, 3, 4], in_flight=2)
                assert await anext_(left) == 10
                await left.aclose()
            assert len(mock.submitted()) < 2 + 3 + 4 + 1

        asyncio.run(main())


async def anext_(results: Any) -> Any:
    return await results.__anext__()


def test_exceptions_survive_pickling():
    with server().client() as client:
        for call in (
            lambda: client.submit("nope", 1),
            lambda: client.submit("fail", 1).result(),
            lambda: client.task("x").result(),
        ):
            with pytest.raises(cresset.CressetError) as error:
                call()
            again = pickle.loads(pickle.dumps(error.value))
            assert type(again) is type(error.value)
            assert str(again) == str(error.value)
            assert vars(again) == vars(error.value)


def test_a_forked_child_makes_its_own_connections():
    import os

    made: list[int] = []

    class Transport(httpx.BaseTransport):
        def __init__(self) -> None:
            self.inner = server().transport()

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            made.append(id(request))
            return self.inner.handle_request(request)

    client = cresset.Client("http://mock.invalid", transport=Transport())
    client.predict("double", 1)
    with client._pools.turn(is_wait=False) as parents:
        pass
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with client._pools.turn(is_wait=False) as own:
            os.write(writer, b"same" if own is parents else b"own!")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 4) == b"own!"
    os.close(reader)
    os.close(writer)
    client.close()
