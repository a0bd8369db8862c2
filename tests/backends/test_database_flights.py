"""Flights in the database: SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError, OperationalError, connection, connections, transaction
from django.test import TestCase, TransactionTestCase, override_settings

from django_obc_ai.backends.coordinators import BaseCoordinator
from django_obc_ai.backends.coordinators.database import DatabaseCoordinator
from django_obc_ai.exceptions import CoordinatorError
from django_obc_ai.models import Flight
from django_obc_ai.models.connections import apart
from django_obc_ai.models.writer import close_writers
from django_obc_ai.services.erasure import erase_user
from django_obc_ai.services.retention import purge_operations
from django_obc_ai.testing import FlightContract
from tests.backends.threads import ThreadsWithConnections

ON_POSTGRES = {"OBC_AI": {"DATABASE": "postgres"}}


class _Committing(ThreadsWithConnections, FlightContract, TransactionTestCase):
    def make_coordinator(self) -> BaseCoordinator:
        return DatabaseCoordinator()


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


TRANSACTIONAL = pytest.mark.django_db(transaction=True, databases=["default", "postgres"])


@pytest.fixture
def on_postgres(postgres_alias: str) -> Iterator[DatabaseCoordinator]:
    with override_settings(**ON_POSTGRES):
        yield DatabaseCoordinator()


@TRANSACTIONAL
@pytest.mark.parametrize("is_kept_open", [False, True])
def test_inside_a_transaction_others_see_at_once_what_it_says(
    on_postgres: DatabaseCoordinator, is_kept_open: bool
) -> None:
    connections["postgres"].settings_dict["CONN_MAX_AGE"] = 60 if is_kept_open else 0
    ask = partial(on_postgres.board, "k", age_seconds=60)
    with pytest.raises(ZeroDivisionError), transaction.atomic(using="postgres"):
        assert on_postgres.can_share_now()
        assert ask("a").role == "lead"
        on_postgres.publish("k", "a", "text")
        assert apart(lambda: ask("b")).text == "text"
        on_postgres.renew_flight("k", "a")
        on_postgres.land("k", "a", "yes", keep_seconds=60)
        assert apart(lambda: ask("b")).answer == "yes"
        raise ZeroDivisionError
    assert ask("c").answer == "yes"
    connections["postgres"].settings_dict["CONN_MAX_AGE"] = 0
    close_writers()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_on_sqlite_it_says_that_it_cannot() -> None:
    coordinator = DatabaseCoordinator()
    steps: list[Callable[[], object]] = [
        lambda: coordinator.board("k", "a", age_seconds=0),
        lambda: coordinator.publish("k", "a", "text"),
        lambda: coordinator.renew_flight("k", "a"),
        lambda: coordinator.land("k", "a", "yes", keep_seconds=60),
    ]
    assert coordinator.can_share_now()
    with transaction.atomic():
        assert not coordinator.can_share_now()
        for step in steps:
            with pytest.raises(CoordinatorError, match="OBC_AI\\['COORDINATORS'\\]") as raised:
                step()
            assert not raised.value.retryable
    assert not Flight.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_is_repeated_counts_once() -> None:
    """The connection dies after the database has done it and before it says so."""
    coordinator, is_lost = DatabaseCoordinator(), [False]

    def lose(execute: Any, *arguments: Any) -> Any:
        result = execute(*arguments)
        if not is_lost[0] and "UPDATE" in arguments[0]:
            is_lost[0] = True
            raise OperationalError
        return result

    coordinator.board("k", "a", age_seconds=0)
    with connection.execute_wrapper(lose):
        coordinator.publish("k", "a", "once")
    assert is_lost == [True]
    assert coordinator.board("k", "b", age_seconds=0).text == "once"


@pytest.fixture
def _without_table(transactional_db: None) -> Iterator[None]:
    """As if the migrations had not been run."""
    table = Flight._meta.db_table
    with connection.schema_editor() as editor:
        editor.alter_db_table(Flight, table, f"hidden_{table}")
    yield
    with connection.schema_editor() as editor:
        editor.alter_db_table(Flight, f"hidden_{table}", table)


@pytest.mark.usefixtures("_without_table")
def test_a_failing_database_is_an_error_of_the_coordinator() -> None:
    coordinator = DatabaseCoordinator()
    with pytest.raises(CoordinatorError, match="'default' could not coordinate") as raised:
        coordinator.board("k", "a", age_seconds=0)
    assert isinstance(raised.value.__cause__, DatabaseError)
    assert raised.value.retryable


@pytest.mark.django_db
def test_rows_that_have_expired_go_with_the_next_flight() -> None:
    coordinator, now = DatabaseCoordinator(), [1_900_000_000.0]
    coordinator.clock = lambda: now[0]
    for number in range(130):
        coordinator.board(f"k{number}", "a", age_seconds=0)
    coordinator.land("k0", "a", "yes", keep_seconds=3600)
    now[0] += 2 * coordinator.flight_lease_seconds + 1
    coordinator.board("new", "a", age_seconds=0)
    assert Flight.objects.count() == 131 - 100  # never so many at once that a call is slow
    now[0] += coordinator.flight_lease_seconds + 1
    coordinator.land("new", "a", None, keep_seconds=60)
    assert sorted(Flight.objects.values_list("pk", flat=True)) == ["k0"]


@pytest.mark.django_db
def test_who_gave_up_leaves_no_text() -> None:
    coordinator = DatabaseCoordinator()
    coordinator.board("k", "a", age_seconds=0)
    coordinator.publish("k", "a", "lost words")
    coordinator.land("k", "a", None, keep_seconds=60)
    assert not Flight.objects.exclude(text="").exists()


@pytest.mark.django_db(transaction=True)
def test_a_purge_forgets_what_has_expired_and_an_erasure_all() -> None:
    coordinator = DatabaseCoordinator()
    for key, seconds in (("old", -1), ("new", 60)):
        coordinator.board(key, "a", age_seconds=0)
        coordinator.land(key, "a", "yes", keep_seconds=seconds)
    assert Flight.objects.count() == 2
    purge_operations(timedelta(days=1), is_dry_run=True)
    assert Flight.objects.count() == 2
    purge_operations(timedelta(days=1))
    assert list(Flight.objects.values_list("pk", flat=True)) == ["new"]
    erase_user(get_user_model().objects.create(username="amina"), is_dry_run=True)
    assert Flight.objects.count() == 1
    erase_user(get_user_model().objects.get())
    assert not Flight.objects.exists()
