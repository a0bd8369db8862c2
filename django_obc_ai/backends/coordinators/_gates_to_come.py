"""Stands where the gates will be; goes when they come."""

from __future__ import annotations

from typing import Any


class GatesToCome:
    """Raises NotImplementedError."""

    def acquire(self, gate: str, permit: str, **_: Any) -> Any:
        """Raise."""
        raise NotImplementedError

    def release(self, gate: str, permit: str, **_: Any) -> Any:
        """Raise."""
        raise NotImplementedError

    def gate_state(self, gate: str, limits: Any) -> Any:
        """Raise."""
        raise NotImplementedError

    def reopen(self, gate: str) -> None:
        """Raise."""
        raise NotImplementedError
