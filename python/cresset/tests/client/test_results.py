"""Results of tasks as arrays: waited for, as bytes where they have that form, and told when there is none."""

from __future__ import annotations

import struct
from typing import Any

import httpx
import pytest

import cresset
from cresset.client._safetensors import Packed, pack
from cresset.testing import MockServer

MEDIA = "application/x-safetensors"


class Story:
    """A server that tells a task's result as scripted, and knows how the task stands."""

    def __init__(self, task: dict[str, Any], *answers: httpx.Response) -> None:
        times = dict.fromkeys(("created_at", "finished_at"), "2026-11-23T01:02:03Z")
        self.task = {"task_id": "t", "model": "m", "version": "2", **times, **task}
        self.answers = list(answers)
        self.asked: list[str] = []

    def result(self, as_: Any, timeout: float | None = None) -> Any:
        retries = cresset.Retries(attempts=2, base_delay=0)
        with cresset.Client(transport=httpx.MockTransport(self.answer), retries=retries) as client:
            return client.task("t").result(timeout, as_=as_)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.raw_path.decode())
        if request.url.path == "/v1/models/m":
            outputs = [{"name": "y", "dtype": "int8", "shape": [-1]}]
            info = {"name": "m", "version": "2", "kind": "tensor", "state": "ready", "outputs": outputs}
            return httpx.Response(200, json=info)
        if not request.url.path.endswith("/result"):
            return httpx.Response(200, json=self.task)
        assert MEDIA in request.headers["accept"]
        return self.answers.pop(0) if self.answers else httpx.Response(202, json=self.task)


def test_a_tasks_result_is_waited_for_and_comes_as_bytes():
    import numpy as np

    file = pack({"y": Packed("int64", (2,), struct.pack("<2q", 3, 4))})
    busy = httpx.Response(503, json={"code": "store_unavailable"}, headers={"retry-after": "0"})
    pending = httpx.Response(202, json={**Story({"status": "PENDING"}).task, "finished_at": None})
    story = Story(
        {"status": "SUCCESS"}, pending, busy, httpx.Response(200, content=file, headers={"content-type": MEDIA})
    )
    out = story.result("numpy")
    assert (out.dtype, out.tolist()) == (np.int64, [3, 4])
    assert story.asked == ["/v1/tasks/t/result?wait=20000ms"] * 3


def test_a_tasks_result_that_is_json_is_converted_as_declared():
    import numpy as np

    made_by = {"cresset-model": "m", "cresset-version": "2"}
    out = Story({}, httpx.Response(200, json=[1, 2], headers=made_by)).result("numpy")
    assert (out.dtype, out.tolist()) == (np.int8, [1, 2])
    # Of a server, or through a proxy, that does not say whose it is.
    assert Story({}, httpx.Response(200, json=[1, 2])).result("numpy").dtype == np.int64
    with pytest.raises(cresset.BadAnswer):
        Story({}, httpx.Response(200, content=b"<html>")).result("numpy")


def test_a_task_without_a_result_is_told_as_ever():
    error = {"code": "time_limit", "type": "TimeLimit", "message": "too slow"}
    told = httpx.Response(504, json={"code": "time_limit", "detail": "too slow", "error": error})
    with pytest.raises(cresset.TaskFailed, match="too slow") as failed:
        Story({"status": "FAILURE", "error": error}, told).result("numpy")
    assert failed.value.task.model == "m"
    error = {"code": "revoked", "type": "Revoked", "message": "cancelled"}
    told = httpx.Response(409, json={"code": "revoked", "detail": "cancelled"})
    with pytest.raises(cresset.TaskRevoked, match="cancelled"):
        Story({"status": "REVOKED", "error": error}, told).result("numpy")
    with pytest.raises(cresset.ExpiredTask):
        Story({}, httpx.Response(410, json={"code": "expired_task"})).result("numpy")
    with pytest.raises(cresset.TaskTimeout) as late:
        Story({"status": "STARTED"}).result("numpy", timeout=0)
    assert late.value.task is not None
    assert late.value.task.status == "STARTED"


def test_the_mock_server_answers_as_one_without_tensors():
    import numpy as np

    def fail(_: Any) -> Any:
        raise KeyError("gone")

    server = MockServer({"double": lambda x: [2 * one for one in x], "fail": fail}, run_at_submit=False)
    with server.client() as client:
        good, bad, doomed = (client.submit(name, np.ones(2)) for name in ("double", "fail", "double"))
        with pytest.raises(cresset.TaskTimeout):
            good.result(0, as_="numpy")
        server.revoke(doomed.id)
        server.run_pending()
        assert good.result(as_="numpy").tolist() == [2.0, 2.0]
        with pytest.raises(cresset.TaskFailed, match="gone"):
            bad.result(as_="numpy")
        with pytest.raises(cresset.TaskRevoked):
            doomed.result(as_="numpy")
        with pytest.raises(cresset.UnknownTask):
            client.task("nope").result(as_="numpy")
