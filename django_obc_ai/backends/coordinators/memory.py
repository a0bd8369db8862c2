"""A coordinator in this process's memory: for tests and single-process scripts."""

from __future__ import annotations

from typing import ClassVar

from django_obc_ai.backends.coordinators._gates_to_come import GatesToCome
from django_obc_ai.backends.coordinators._memory_flights import MemoryFlights
from django_obc_ai.backends.coordinators.base import BaseCoordinator


class MemoryCoordinator(MemoryFlights, GatesToCome, BaseCoordinator):
    """Dictionaries under locks, which threads share; every process has its own."""

    is_shared: ClassVar[bool] = False

    def __init__(self) -> None:
        """Start with nothing under way."""
        super().__init__()
