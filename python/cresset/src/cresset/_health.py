"""What the server tells of its health, as values; part of `records`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ModelHealth:
    """Whether one model can be served."""

    name: str
    state: str
    """`starting`, `ready`, `degraded`, `unloaded`, `loading`, `down`, `failed` or `stopped`."""
    reason: str | None
    """What is wrong with it, if anything is."""
    ready: bool = False
    """It counts as ready: also when it is degraded only because a process of several is being started again."""


@dataclass(frozen=True)
class Health:
    """Whether everything can be served."""

    ready: bool
    """Every model is ready, tasks can be stored, the broker can be used, and the server is not stopping."""
    stopping: bool
    """It has been told to stop."""
    store: str | None
    """Why tasks cannot be stored, if so."""
    models: tuple[ModelHealth, ...]
    """Each model."""
    state: str = ""
    """In a word: `starting`, `ready`, `degraded`, `down` or `stopping`."""
    broker: str | None = None
    """Why the broker that Celery's tasks come from cannot be used, if so."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Health:
        """Read it from the answer to `GET /health/ready`.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        return cls(
            ready=bool(value["ready"]),
            stopping=bool(value.get("stopping", False)),
            store=value.get("store"),
            models=tuple(
                ModelHealth(one["name"], one["state"], one.get("reason"), one.get("ready", one["state"] == "ready"))
                for one in value.get("models", ())
            ),
            state=str(value.get("state", "")),
            broker=value.get("broker"),
        )
