"""The API key: sent with every request by both clients, from the argument or the environment, and shown nowhere."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

import cresset
from cresset.testing import MockServer

KEY = "crs_0123456789abcdef_" + "5ec" * 21 + "5"


def sent_by(**options: Any) -> list[str | None]:
    """What each client sends as `Authorization`."""
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json={"models": []})

    with cresset.Client("http://x.invalid", transport=httpx.MockTransport(answer), **options) as client:
        client.models()

    async def main() -> None:
        async with cresset.AsyncClient("http://x.invalid", transport=httpx.MockTransport(answer), **options) as client:
            await client.models()

    asyncio.run(main())
    return seen


def test_it_is_the_argument_or_the_environments_or_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CRESSET_KEY", raising=False)
    assert sent_by() == [None, None]
    assert sent_by(key=KEY) == [f"Bearer {KEY}"] * 2
    monkeypatch.setenv("CRESSET_KEY", f"{KEY}\n")
    assert sent_by() == [f"Bearer {KEY}"] * 2
    assert sent_by(key="crs_other") == ["Bearer crs_other"] * 2
    assert sent_by(key="") == [None, None]
    assert sent_by(headers={"authorization": "Basic x"}) == ["Basic x"] * 2


def test_nothing_shows_it():
    with cresset.Client("http://x.invalid", key=KEY) as client:
        assert KEY not in repr(client)
    bad: list[tuple[Any, type[Exception]]] = [(f"{KEY}\u20ac", ValueError), (f"a {KEY}", ValueError), (7, TypeError)]
    for key, kind in bad:
        with pytest.raises(kind) as refused:
            cresset.Client("http://x.invalid", key=key)
        assert "5ec" not in str(refused.value)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("unauthorized", cresset.Unauthorized),
        ("forbidden", cresset.Forbidden),
        ("rate_limited", cresset.Overloaded),
    ],
)
def test_what_a_key_is_refused_for_has_its_class(code: str, kind: type[cresset.ApiError]):
    mock = MockServer({"m": lambda x: x})
    with mock.client(retries=0) as client:
        mock.refuse(code)
        with pytest.raises(kind):
            client.submit("m", 1)
        assert client.submit("m", 1).result(timeout=5) == 1


def test_too_fast_is_waited_out_and_no_key_is_not():
    mock = MockServer({"m": lambda x: x})
    with mock.client() as client:
        mock.refuse("rate_limited", times=2)
        assert client.submit("m", 1).result(timeout=5) == 1
        mock.refuse("unauthorized", times=2)
        with pytest.raises(cresset.Unauthorized):
            client.submit("m", 1)
