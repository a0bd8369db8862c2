"""A coordinator in the project's database: right under concurrency, no service needed."""

from __future__ import annotations

from django_obc_ai.backends.coordinators._database_flights import DatabaseFlights
from django_obc_ai.backends.coordinators._gates_to_come import GatesToCome
from django_obc_ai.backends.coordinators.base import BaseCoordinator


class DatabaseCoordinator(DatabaseFlights, GatesToCome, BaseCoordinator):
    """Rows in ``OBC_AI["DATABASE"]`` that only conditional statements change.

    Inside a caller's transaction it works through a connection of its own, so that others see
    at once what it says; on SQLite, where that would wait for the caller's own lock, it cannot.
    """

    def __init__(self) -> None:
        """Look nothing up."""
        super().__init__()
