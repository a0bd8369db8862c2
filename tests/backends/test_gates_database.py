"""Gates in the database: SQLite and PostgreSQL, transactions of callers, processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, connections, transaction
from django.test import TestCase, TransactionTestCase, override_settings

from django_obc_ai.backends.coordinators import BaseCoordinator
from django_obc_ai.backends.coordinators.database import DatabaseCoordinator
from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.exceptions import CoordinatorError
from django_obc_ai.models import GateRow
from django_obc_ai.models.writer import close_writers
from django_obc_ai.testing import GateContract
from django_obc_ai.types.coordination import Admission, Limits
from tests.backends.gate_in_process import check_processes
from tests.backends.gate_steps import compare
from tests.backends.threads import ThreadsWithConnections

ON_POSTGRES = {"OBC_AI": {"DATABASE": "postgres"}}
ONE = Limits(requests=1)


class _Committing(ThreadsWithConnections, GateContract, TransactionTestCase):
    def make_coordinator(self) -> BaseCoordinator:
        return DatabaseCoordinator()


class DatabaseGateTests(_Committing):
    """On the default database, a SQLite file unless the suite runs on PostgreSQL."""


@pytest.mark.usefixtures("postgres_alias")
@override_settings(**ON_POSTGRES)
class PostgresGateTests(_Committing):
    databases = {"default", "postgres"}


class InsideATestCaseTests(GateContract, TestCase):
    """A TestCase's own transaction is nobody's: gates work inside it."""

    can_share_threads = False

    def make_coordinator(self) -> BaseCoordinator:
        return DatabaseCoordinator()


del _Committing  # not a test by itself


def _ask(permit: str) -> Admission:
    gates = DatabaseCoordinator()
    return gates.acquire("default", permit, tokens=1, limits=ONE, patience_seconds=0)


@pytest.mark.django_db
def test_what_is_stored_between_the_steps_is_all_there_is() -> None:
    for seed in (1, 2):
        GateRow.objects.all().delete()
        compare(DatabaseCoordinator(), MemoryCoordinator(), seed=seed, count=400)


@pytest.mark.django_db
def test_fields_of_another_release_are_no_obstacle() -> None:
    GateRow.objects.create(name="default", data='{"failures": 2, "invented_later": 1}')
    assert DatabaseCoordinator().gate_state("default", ONE).failures == 2
    assert str(GateRow.objects.get()) == "default"


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_a_permit_outlives_the_rollback_of_its_caller_and_locks_nobody(
    postgres_alias: str,
) -> None:
    with override_settings(**ON_POSTGRES):
        with pytest.raises(RuntimeError), transaction.atomic(using=postgres_alias):
            Group.objects.using(postgres_alias).create(name="gone")
            assert _ask("a") == Admission()
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(_from_outside).result() == "requests"
            raise RuntimeError
        assert _ask("b").reason == "requests"
        close_writers()


def _from_outside() -> str:
    try:
        return _ask("c").reason
    finally:
        connections.close_all()


@pytest.mark.skipif("connection.vendor != 'sqlite'")
@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_on_sqlite_it_says_at_once_that_it_cannot() -> None:
    with transaction.atomic(), pytest.raises(CoordinatorError) as raised:
        _ask("a")
    assert "outside atomic()" in str(raised.value) and "OBC_AI['DATABASE']" in str(raised.value)
    assert not raised.value.retryable
    assert _ask("a") == Admission()


@pytest.fixture
def _without_table(transactional_db: None) -> Iterator[None]:
    """As if the migrations had not been run."""
    table = GateRow._meta.db_table
    with connection.schema_editor() as editor:
        editor.alter_db_table(GateRow, table, f"hidden_{table}")
    yield
    with connection.schema_editor() as editor:
        editor.alter_db_table(GateRow, f"hidden_{table}", table)


@pytest.mark.usefixtures("_without_table")
@pytest.mark.parametrize(
    "step",
    [
        lambda gates: gates.acquire("g", "a", tokens=1, limits=ONE, patience_seconds=0),
        lambda gates: gates.release("g", "a", verdict="ok", limits=ONE),
        lambda gates: gates.gate_state("g", ONE),
        lambda gates: gates.reopen("g"),
    ],
    ids=["acquire", "release", "gate_state", "reopen"],
)
def test_a_failing_database_is_an_error_of_the_coordinator(
    step: Callable[[BaseCoordinator], Any],
) -> None:
    with pytest.raises(CoordinatorError, match="The database 'default' could not ") as raised:
        step(DatabaseCoordinator())
    assert isinstance(raised.value.__cause__, DatabaseError)
    assert raised.value.retryable


@pytest.mark.parametrize("alias", ["default", "postgres"])
@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_eight_processes_never_pass_the_limit_in_any_window(
    alias: str, postgres_alias: str
) -> None:
    chosen = connections.databases[alias]
    keys = ("ENGINE", "NAME", "HOST", "PORT", "USER", "OPTIONS")
    entry = {key: chosen[key] for key in keys if key in chosen}
    place = {"DATABASES": {"default": entry, alias: entry}, "OBC_AI": {"DATABASE": alias}}
    check_processes(place, count=8)
