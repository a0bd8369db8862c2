"""Flights in the project's database (to come)."""

from __future__ import annotations

from typing import Any


class DatabaseFlights:
    """To come."""

    def board(self, key: str, token: str, **_: Any) -> Any:
        """Raise."""
        raise NotImplementedError

    def publish(self, key: str, token: str, piece: str) -> None:
        """Raise."""
        raise NotImplementedError

    def land(self, key: str, token: str, answer: str | None, **_: Any) -> None:
        """Raise."""
        raise NotImplementedError

    def renew_flight(self, key: str, token: str) -> None:
        """Raise."""
        raise NotImplementedError
