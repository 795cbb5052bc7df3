"""Cresset in a Django site: submit inference from a view, and give the answer to whoever asked for it.

```python
INSTALLED_APPS = [..., "cresset.django"]
CRESSET = {"URL": "http://127.0.0.1:8700"}
```

```python
from cresset.django import submit


def classify(request):
    task = submit("digits", pixels_of(request), request=request)  # the caller owns it
    return JsonResponse({"task": task.id}, status=202)
```

`client` and `async_client` are `cresset.Client` and `cresset.AsyncClient` as the settings describe them: made when they
are first used, one for each process (and each event loop), so that this is safe to import anywhere and to use under
uWSGI's prefork, threads and gevent. `cresset.django.views`, `.async_views` and `.rest` have views, `.tasks` the backend
of `django.tasks`, `.mirror` (an app of its own) a table of the site's tasks with admin pages.

Importing this imports neither models nor httpx, and nothing here is done at import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from cresset.django._clients import get_async_client, get_client

if TYPE_CHECKING:
    from cresset.client import AsyncClient, Client
    from cresset.django._submit import asubmit, submit, submit_on_commit

__all__ = [
    "asubmit",
    "async_client",
    "client",
    "get_async_client",
    "get_client",
    "submit",
    "submit_on_commit",
]


class _Late:
    """Stands for a client that is made when something of it is first used."""

    def __init__(self, give: Any) -> None:
        self._give = give

    def __getattr__(self, name: str) -> Any:
        return getattr(self._give(), name)

    def __repr__(self) -> str:
        return f"<{self._give.__name__}() when it is used>"


client = cast("Client", _Late(get_client))
"""The blocking client of this process."""
async_client = cast("AsyncClient", _Late(get_async_client))
"""The asyncio client of the event loop that runs."""


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import the submits when they are first asked for: they need Django's signals and transactions."""
        if name not in ("asubmit", "submit", "submit_on_commit"):
            raise AttributeError(f"module 'cresset.django' has no attribute {name!r}")
        from cresset.django import _submit  # see above

        value = getattr(_submit, name)
        globals()[name] = value
        return value
