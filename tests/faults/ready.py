"""Waiting until a server's models are there."""

from __future__ import annotations

import time

from faults.client import Client
from faults.process import LONG


def wait_instances(client: Client) -> None:
    """Waits until every process of every model is there."""
    limit = time.monotonic() + LONG
    while time.monotonic() < limit:
        answer = client.request("GET", "/v1/models")
        if answer is not None and answer[0] == 200:
            instances = [i for model in answer[1]["models"] for i in model["instances"]]
            if instances and all(i["state"] == "ready" for i in instances):
                return
        time.sleep(0.02)
    raise TimeoutError("the models did not get ready")
