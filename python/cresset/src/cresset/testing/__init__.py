"""A Cresset server made of Python functions, for the tests of applications. No network, no models, no waiting.

```python
from cresset.testing import MockServer


def test_my_view():
    server = MockServer({"digits": lambda pixels: [0.1] * 10})
    with server.client() as client:
        assert client.submit("digits", [[0.0] * 8] * 8).result() == [0.1] * 10
    assert server.submitted("digits") == [[[0.0] * 8] * 8]
```

Time passes when the test says so:

```python
def test_a_reminder_can_be_called_off():
    server = MockServer({"remind": str.upper})
    with server.client() as client:
        kept, dropped = (client.submit("remind", "hello", countdown=3600) for _ in range(2))
        assert dropped.cancel().when == "before"
        server.advance(3600)
        assert (kept.status().status, dropped.status().status) == ("SUCCESS", "REVOKED")
```

It answers as the real server does, errors included, but checks no declarations: a function takes any JSON.
"""

from __future__ import annotations

from cresset.testing._server import MockServer

__all__ = ["MockServer"]
