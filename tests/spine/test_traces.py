"""Traces with the real program: a caller's `traceparent` reaches the model and the webhook, also after a restart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from conftest import Serve
from support.models import write_model
from support.receiver import SECRET, Receiver
from support.server import LONG

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
#: A span of ours in the caller's trace.
OURS = re.compile(f"00-{TRACE}-(?!00f067aa0ba902b7)[0-9a-f]{{16}}-01")
TELLS = """
import cresset

class Model(cresset.Model):
    def predict(self, batch):
        return batch

    def postprocess(self, output):
        here = cresset.current()
        return [output, here.traceparent, here.tracestate]
"""
TENSORS = """
import cresset
import torch

class Model(cresset.Model):
    def predict(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = cresset.current().traceparents
        return x

    def postprocess(self, output):
        return list(self.seen)
"""
ONE = '[[inputs]]\nname = "x"\ndtype = "float32"\nshape = [1]\n'


def test_a_trace_reaches_the_model_and_the_webhook_across_a_restart(serve: Serve, tmp_path: Path) -> None:
    receiver = Receiver(lambda _path, _number: 204)
    model = write_model(tmp_path / "models", "tells", TELLS)
    flags = ("--webhooks-allow", "127.0.0.1", "--log-format", "json", "--log-level", "debug")
    env = {"CRESSET_WEBHOOKS_SECRETS": SECRET}
    server = serve(model, *flags, env=env).wait_ready()
    headers = {"traceparent": PARENT, "tracestate": "rojo=1,congo=2"}
    with server.http() as client:
        body = {"input": 1, "callback_url": receiver.url("/told"), "countdown": 3}
        accepted = client.post("/v1/models/tells/tasks", json=body, headers=headers)
        assert accepted.status_code == 202, accepted.text
        place = accepted.headers["location"]
        # What was asked of us is not answered with it.
        assert not {"traceparent", "tracestate"} & set(accepted.headers)
        said = client.post("/v1/models/tells/predict", json={"input": 2}, headers=headers).json()["result"]
        assert said[0] == 2 and OURS.fullmatch(said[1]) and said[2] == "rojo=1,congo=2", said
        assert client.post("/v1/models/tells/predict", json={"input": 3}).json()["result"] == [3, None, None]
    server.kill()

    again = serve(model, *flags, env=env).wait_ready()
    with again.http() as client:
        task = client.get(place, params={"wait": "60s"}, timeout=LONG).json()
    assert (task["status"], task["trace_id"]) == ("SUCCESS", TRACE), task
    value, parent, state = task["result"]
    assert value == 1 and OURS.fullmatch(parent) and state == "rojo=1,congo=2", task
    again.wait(lambda _: len(receiver.events) == 1, "told")
    told = receiver.headers["/told"]
    assert OURS.fullmatch(told["traceparent"]) and told["traceparent"] != parent, told
    assert told["tracestate"] == "rojo=1,congo=2"
    line = again.wait_log(lambda text: '"a webhook was delivered"' in text, "that it was delivered")
    assert fields(line)["trace_id"] == TRACE, line
    receiver.close()


def fields(line: str) -> dict[str, Any]:
    """What a line of the log has, wherever its format puts it."""
    entry = json.loads(line)
    return {**entry, **entry.get("fields", {})}


def test_a_tensor_model_sees_the_traces_of_its_batch(serve: Serve, tmp_path: Path) -> None:
    model = write_model(tmp_path / "models", "rows", TENSORS, ONE)
    server = serve(model).wait_ready()
    with server.http() as client:
        answer = client.post("/v1/models/rows/predict", json={"input": [1.0]}, headers={"traceparent": PARENT})
        assert answer.status_code == 200, answer.text
        assert OURS.fullmatch(answer.json()["result"][0]), answer.text
