"""Stands where the gates will be; goes when they come."""

from __future__ import annotations

from typing import Any

from django_obc_ai.types.coordination import Admission


class GatesToCome:
    """Raises NotImplementedError."""

    def acquire(self, gate: str, permit: str, **_: Any) -> Any:
        """Raise."""
        return Admission()

    def release(self, gate: str, permit: str, **_: Any) -> Any:
        """Raise."""
        return None

    def gate_state(self, gate: str, limits: Any) -> Any:
        """Raise."""
        return None

    def reopen(self, gate: str) -> None:
        """Raise."""
        return
