"""Short ways to have a task done over HTTP."""

from __future__ import annotations

import httpx


def submit(client: httpx.Client, value: object, model: str = "echo") -> str:
    """The address of a task that was accepted."""
    accepted = client.post(f"/v1/models/{model}/tasks", json={"input": value})
    assert accepted.status_code == 202, accepted.text
    return accepted.headers["location"]


def result(client: httpx.Client, place: str) -> object:
    """What a task came to, once it has."""
    task = client.get(place, params={"wait": "60s"}).json()
    assert task["status"] == "SUCCESS", task
    return task["result"]
