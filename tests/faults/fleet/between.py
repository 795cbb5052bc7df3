"""What gateways and workers of a run meet at, whatever it is: a database, or a broker."""

from __future__ import annotations

from abc import ABC, abstractmethod

from faults.fleet.own import Address


class Between(ABC):
    """The run's own: it goes with it."""

    kind: str

    @property
    @abstractmethod
    def at(self) -> Address:
        """Where it listens."""

    @abstractmethod
    def url_by(self, way: Address, mark: str) -> str:
        """Its address for one server, which is told apart by a mark, where something else listens on the way to it."""

    @abstractmethod
    def close(self) -> None:
        """Nothing is left of it."""
