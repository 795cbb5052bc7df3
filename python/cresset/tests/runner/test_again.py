"""What a model says of another try, as it arrives at the server. No torch here."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

import cresset

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference import Child

    Start = Callable[..., Child]


def test_each_item_says_for_itself_whether_to_try_again(start: Start):
    child = start("""
        import cresset

        class Picky(cresset.Model):
            def preprocess(self, payload):
                if payload == "later":
                    raise cresset.Retry("busy", after=1.5)
                if payload == "some time":
                    raise cresset.Retry
                if payload == "never":
                    raise cresset.Reject("no cats here")
                return payload / 1
            def predict(self, batch):
                return batch
    """)
    child.ready()
    items = child.run_objects("later", "some time", "never", "x", 1).items
    assert [status for status, _ in items] == [1, 1, 1, 1, 0]
    failures = [value for status, value in items if status == 1]
    assert [failure["retry"] for failure in failures] == [{"after_ms": 1500}, {"after_ms": None}, False, None]
    assert [failure["type"] for failure in failures] == ["Retry", "Retry", "Reject", "TypeError"]
    assert [failure["message"] for failure in failures[:3]] == [
        "busy",
        "the model asked for another try",
        "no cats here",
    ]


def test_a_batch_that_asks_for_a_retry_says_so(start: Start):
    child = start("""
        import cresset
        from datetime import timedelta

        def predict(batch):
            raise cresset.Retry("busy", after=timedelta(minutes=1))
    """)
    child.ready()
    answer = child.run_objects(1)
    assert answer.kind == "ERROR"
    assert answer.json["retry"] == {"after_ms": 60_000}


@pytest.mark.parametrize("after", [-1, float("nan"), 1e12, timedelta(seconds=-1)])
def test_a_time_that_cannot_be_is_refused_where_it_is_written(after: float | timedelta):
    with pytest.raises(ValueError, match="after must be 0 to"):
        cresset.Retry("busy", after=after)
