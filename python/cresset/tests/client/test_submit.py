"""What a submit says: options beside the input, in both forms of a request, and the key that it is known again by."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

import cresset
from cresset.client import _messages as messages, _options
from cresset.client._core import Lost
from cresset.client._safetensors import Packed
from scripted import Driver, answer, core, problem

if TYPE_CHECKING:
    from scripted import Clock

SOON = datetime(2026, 11, 25, 9, 0, 0, 500, tzinfo=timezone(timedelta(hours=1)))
NAIVE = datetime(2026, 11, 25, 8)  # noqa: DTZ001
LAST = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))


def key_of(flow: Any) -> str:
    """The key of a submit that is about to be sent."""
    return next(flow).request.headers["idempotency-key"]


def test_submit_sends_one_body_and_reads_the_id(clock: Clock):
    driver = Driver(clock, answer({"task_id": "t9"}, 202))
    assert driver.run(core().submit("dig its", {"x": (1, 2.5)}, 5, {"who": "me"})) == "t9"
    (sent,) = driver.sent
    assert (sent.request.method, sent.request.path) == ("POST", "/v1/models/dig%20its/tasks")
    assert sent.request.content == b'{"input":{"x":[1,2.5]},"priority":5,"metadata":{"who":"me"}}'
    assert sent.read_timeout == 30.0


def test_whom_to_tell_goes_along_in_both_forms(clock: Clock):
    url = "https://example.com/hook?a=1&b=2"
    driver = Driver(clock, answer({"task_id": "t9"}, 202))
    driver.run(core().submit("m", 1, 0, None, callback_url=url, callback_events=["failed", "revoked"]))
    body = json.loads(driver.sent[0].request.content or b"")
    assert body == {"input": 1, "callback_url": url, "callback_events": ["failed", "revoked"]}
    order = messages.submit("m", 0, None, callback_url=url)
    assert parse_qs(urlsplit(order.path + order.query).query) == {"callback_url": [url]}
    order = messages.submit("m", 0, None, callback_url=url, callback_events=("started", "failed"))
    assert parse_qs(urlsplit(order.path + order.query).query)["callback_events"] == ["started,failed"]


def test_what_is_no_callback_is_refused():
    given: Any
    for given, words in (
        ({"callback_url": 7}, "callback_url must be text, not int"),
        ({"callback_url": "https://x", "callback_events": "failed"}, "must be a list of events"),
        ({"callback_url": "https://x", "callback_events": ["done"]}, "not 'done'"),
        ({"callback_url": "https://x", "callback_events": []}, "at least one event"),
        ({"callback_events": ["failed"]}, "without callback_url"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            next(core().submit("m", 1, 0, None, **given))


@pytest.mark.parametrize("cache", ["no-cache", "no-store"])
def test_what_a_result_cache_may_not_do_goes_along(clock: Clock, cache: _options.CacheUse):
    flows = [
        core().submit("m", 1, 0, None, cache=cache),
        core().predict("m", 1, None, None, cache),
        core().predict("m", 1, None, None),
    ]
    drivers = [Driver(clock, answer({"task_id": "t", "result": 1})) for _ in flows]
    for driver, flow in zip(drivers, flows, strict=True):
        driver.run(flow)
    controls = [driver.sent[0].request.headers.get("cache-control") for driver in drivers]
    assert controls == [cache, cache, None]


def test_what_is_no_word_of_a_cache_is_refused():
    word: Any = "nocache"
    for flow in (core().submit("m", 1, 0, None, cache=word), core().predict("m", 1, None, None, word)):
        with pytest.raises(ValueError, match="'no-cache', 'no-store' or None, not 'nocache'"):
            next(flow)


def test_a_submit_without_an_answer_is_sent_again_under_the_same_key(clock: Clock):
    busy = problem("store_unavailable", 503, retry_after="0")
    driver = Driver(clock, Lost("broke"), busy, Lost("refused"), answer({"task_id": "t"}, 202))
    assert driver.run(core().submit("m", 1, 0, None)) == "t"
    first, *again = [(sent.request.path, sent.request.content, sent.request.headers) for sent in driver.sent]
    assert again == [first] * 3


def test_a_submit_that_never_gets_an_answer_is_a_failed_connection(clock: Clock):
    driver = Driver(clock, *[Lost("broke")] * 4)
    with pytest.raises(cresset.ConnectionFailed, match="broke"):
        driver.run(core(3).submit("m", 1, 0, None))


def test_each_submit_has_a_key_of_its_own_and_later_ones_sort_later(clock: Clock, monkeypatch: pytest.MonkeyPatch):
    class Ticks:
        now = 1_800_000_000_000_000_000

        def time_ns(self) -> int:
            self.now += 1_000_000
            return self.now

    monkeypatch.setattr(_options, "time", Ticks())
    keys = [key_of(core().submit("m", 1, 0, None)) for _ in range(100)]
    assert len(set(keys)) == 100
    assert keys == sorted(keys)
    assert all(len(key) == 34 for key in keys)


@pytest.mark.parametrize(
    ("key", "header"),
    [("order-7", '"order-7"'), ('a"b\\c', '"a\\"b\\\\c"'), ("k" * 255, f'"{"k" * 255}"')],
)
def test_a_key_of_the_callers_goes_as_a_quoted_string(key: str, header: str):
    assert key_of(core().submit("m", 1, 0, None, idempotency_key=key)) == header


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"eta": SOON}, {"eta": "2026-11-25T08:00:00.000500Z"}),
        ({"countdown": 90}, {"countdown": "90000ms"}),
        ({"countdown": timedelta(0)}, {"countdown": "0ms"}),
        ({"deadline": SOON}, {"deadline": "2026-11-25T08:00:00.000500Z"}),
        ({"expires": 1, "deadline": timedelta(hours=1)}, {"expires": "1000ms", "deadline": "3600000ms"}),
        ({"expires": SOON}, {"expires": "2026-11-25T08:00:00.000500Z"}),
        ({"expires": timedelta(minutes=1.5)}, {"expires": "90000ms"}),
        ({"expires": 1e-9}, {"expires": "1ms"}),
        ({"countdown": 1.5, "expires": 2}, {"countdown": "1500ms", "expires": "2000ms"}),
    ],
)
def test_times_go_in_the_body_or_in_the_query_beside_arrays(options: dict[str, Any], sent: dict[str, str]):
    order = messages.submit("m", 2, {"größe": 1}, **options)
    body = json.loads(order.with_json(7).content or b"")
    assert body == {"input": 7, "priority": 2, **sent, "metadata": {"größe": 1}}
    request = order.with_tensors({"x": Packed("int8", (), b"7")})
    assert request is not None
    assert parse_qs(urlsplit(request.path).query) == {name: [text] for name, text in {"priority": "2", **sent}.items()}
    assert request.headers["idempotency-key"] == order.with_json(7).headers["idempotency-key"]


def test_metadata_is_written_alike_beside_arrays_and_lists_so_that_a_key_knows_it_again():
    order = messages.submit("m", 0, {"größe": [1.5, None]})
    request = order.with_tensors({"x": Packed("int8", (), b"7")})
    assert request is not None
    content = order.with_json(7).content or b""
    assert content.endswith(b',"metadata":' + request.headers["cresset-metadata"].encode() + b"}")
    # Long ones never go beside arrays, and stay as short as they are: the server's limit is on what is written.
    long = "ö" * 3000
    assert len(messages.submit("m", 0, {"k": long}).with_json(7).content or b"") < 6100


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"eta": NAIVE}, ValueError, "eta is the naive datetime .* use an aware one"),
        ({"expires": NAIVE}, ValueError, "expires is the naive .* use an aware one"),
        ({"eta": SOON, "countdown": 0}, ValueError, "both given"),
        ({"eta": "2026-11-25T08:00:00Z"}, TypeError, "eta must be a datetime, not str"),
        ({"eta": date(2026, 11, 25)}, TypeError, "eta must be a datetime, not date"),
        ({"eta": LAST}, ValueError, "eta must be within the years"),
        ({"countdown": -1}, ValueError, "countdown must be 0 or more"),
        ({"countdown": SOON}, TypeError, "countdown must be seconds or a timedelta"),
        ({"countdown": 1e308}, ValueError, "countdown must be at most five years"),
        ({"expires": 0}, ValueError, "expires must be more than 0"),
        ({"deadline": 0}, ValueError, "deadline must be more than 0"),
        ({"expires": "10m"}, TypeError, "expires must be seconds or a timedelta"),
        ({"idempotency_key": ""}, ValueError, "1 to 255 visible ASCII"),
        ({"idempotency_key": "a b"}, ValueError, "visible ASCII characters, not 'a b'"),
        ({"idempotency_key": "é"}, ValueError, "visible ASCII"),
        ({"idempotency_key": "k" * 256}, ValueError, "1 to 255"),
        ({"idempotency_key": 7}, TypeError, "idempotency_key must be text, not int"),
    ],
)
def test_bad_options_are_refused_before_anything_is_sent(options: dict[str, Any], kind: type[Exception], text: str):
    with pytest.raises(kind, match=text):
        next(core().submit("m", 1, 0, None, **options))
