"""Flights in the database: SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import TestCase, TransactionTestCase, override_settings

from django_obc_ai.backends.coordinators import BaseCoordinator
from django_obc_ai.backends.coordinators.database import DatabaseCoordinator
from django_obc_ai.testing import FlightContract
from django_obc_ai.types.coordination import Boarding

ON_POSTGRES = {"OBC_AI": {"DATABASE": "postgres"}}


class _Committing(FlightContract, TransactionTestCase):
    def make_coordinator(self) -> BaseCoordinator:
        return DatabaseCoordinator()

    def run_threads(
        self, work: Callable[[int], Boarding], numbers: Sequence[int]
    ) -> list[Boarding]:
        def step(number: int) -> Boarding:
            try:
                return work(number)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(step, numbers))


class DatabaseFlightTests(_Committing):
    """On the default database, a SQLite file unless the suite runs on PostgreSQL."""


@pytest.mark.usefixtures("postgres_alias")
@override_settings(**ON_POSTGRES)
class PostgresFlightTests(_Committing):
    databases = {"default", "postgres"}


class InsideATestCaseTests(FlightContract, TestCase):
    """A TestCase's own transaction is nobody's: flights work inside it."""

    can_share_threads = False

    def make_coordinator(self) -> BaseCoordinator:
        return DatabaseCoordinator()


del _Committing  # not a test by itself
