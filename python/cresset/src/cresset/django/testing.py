"""For the site's own tests: a stand-in for the server, in the same process.

```python
from cresset.django.testing import fake


class PageTest(TestCase):
    def test_answer(self):
        with fake({"digits": lambda pixels: [0.1] * 10}) as server:
            url = self.client.post("/classify", ...).json()["url"]
            self.assertEqual(self.client.get(url).json()["status"], "SUCCESS")
        self.assertEqual(len(server.submitted("digits")), 1)
```

With pytest: `pytest_plugins = ["cresset.testing.fixtures"]` in `conftest.py`, and the fixture `cresset_server`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cresset.django._clients import made_by

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from cresset.testing import MockServer


@contextmanager
def fake(models: Mapping[str, Callable[[Any], Any]], **options: Any) -> Generator[MockServer, None, None]:
    """Have the site talk to a `MockServer` meanwhile.

    Args:
        models: for each model a function from an input to its result.
        options: the others of `MockServer`. By default tasks run when they are submitted.
    """
    from cresset.testing import MockServer

    server = MockServer(models, **options)
    with made_by(server):
        yield server
