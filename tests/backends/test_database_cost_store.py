"""The cost store in the database: SQLite and PostgreSQL, threads and processes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.test import TestCase, TransactionTestCase, override_settings

from django_obc_ai.backends.cost_stores import BaseCostStore
from django_obc_ai.backends.cost_stores.database import DatabaseCostStore
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.models import CostReservation, CostTotal
from django_obc_ai.testing import CostStoreContract
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals
from tests.backends.threads import ThreadsWithConnections
from tests.subprocesses import run_together

ROOT = Path(__file__).parents[2]
ON_POSTGRES = {"OBC_AI": {"DATABASE": "postgres"}}
HOLD = BudgetHold(key="a", limit_nano=10)


class _Committing(ThreadsWithConnections, CostStoreContract, TransactionTestCase):
    def make_store(self) -> BaseCostStore:
        return DatabaseCostStore()


class DatabaseCostStoreTests(_Committing):
    """On the default database, a SQLite file unless the suite runs on PostgreSQL."""


@pytest.mark.usefixtures("postgres_alias")
@override_settings(**ON_POSTGRES)
class PostgresCostStoreTests(_Committing):
    databases = {"default", "postgres"}


class InsideATestCaseTests(CostStoreContract, TestCase):
    """A TestCase's own transaction is nobody's: the store works inside it."""

    can_share_threads = False

    def make_store(self) -> BaseCostStore:
        return DatabaseCostStore()

    def test_an_atomic_block_of_the_code_under_test_is_refused_here_too(self) -> None:
        with transaction.atomic(), self.assertRaisesRegex(CostStoreError, "inside a transaction"):
            DatabaseCostStore().reserve(uuid.uuid4(), [HOLD], Amount(nano=1))


del _Committing  # not a test by itself


@pytest.mark.django_db(transaction=True)
def test_a_reservation_inside_a_transaction_is_refused_and_says_why() -> None:
    store = DatabaseCostStore()
    with transaction.atomic(), pytest.raises(CostStoreError) as raised:
        store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1))
    message = str(raised.value)
    assert "'default'" in message
    assert "a rollback would forget money that was spent" in message
    assert "OBC_AI['DATABASE']" in message and "outside atomic()" in message
    assert store.totals(["a"]) == {"a": BudgetTotals()}
    assert store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1)) is None


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_a_ledger_of_its_own_may_be_used_inside_a_transaction(postgres_alias: str) -> None:
    with override_settings(**ON_POSTGRES):
        store, reservation = DatabaseCostStore(), uuid.uuid4()
        with pytest.raises(RuntimeError), transaction.atomic(using="default"):
            assert store.reserve(reservation, [HOLD], Amount(nano=4)) is None
            assert store.settle(reservation, Amount(nano=3))
            raise RuntimeError
        assert store.totals(["a"]) == {"a": BudgetTotals(spent_nano=3)}
        assert CostTotal.objects.using(postgres_alias).count() == 1
    assert CostTotal.objects.using("default").count() == 0


def test_it_says_that_processes_share_it() -> None:
    assert DatabaseCostStore.is_shared


@pytest.fixture
def _without_tables(transactional_db: None) -> Iterator[None]:
    """As if the migrations had not been run."""
    models = (CostTotal, CostReservation)
    with connection.schema_editor() as editor:
        for model in models:
            editor.alter_db_table(model, model._meta.db_table, f"hidden_{model._meta.db_table}")
    yield
    with connection.schema_editor() as editor:
        for model in models:
            editor.alter_db_table(model, f"hidden_{model._meta.db_table}", model._meta.db_table)


@pytest.mark.usefixtures("_without_tables")
@pytest.mark.parametrize(
    "step",
    [
        lambda store: store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1)),
        lambda store: store.settle(uuid.uuid4(), Amount(nano=1)),
        lambda store: store.release(uuid.uuid4()),
        lambda store: store.totals(["a"]),
    ],
    ids=["reserve", "settle", "release", "totals"],
)
def test_a_failing_database_is_an_error_of_the_cost_store(
    step: Callable[[BaseCostStore], Any],
) -> None:
    with pytest.raises(CostStoreError, match="The database 'default' could not ") as raised:
        step(DatabaseCostStore())
    assert isinstance(raised.value.__cause__, DatabaseError)
    assert raised.value.retryable


@pytest.mark.django_db
def test_a_refused_reservation_leaves_no_row() -> None:
    store = DatabaseCostStore()
    assert store.reserve(uuid.uuid4(), [HOLD], Amount(nano=11)) == HOLD
    assert not CostReservation.objects.exists()
    assert store.totals(["a"]) == {"a": BudgetTotals()}


def _databases(alias: str) -> dict[str, Any]:
    chosen = connections.databases[alias]
    keys = ("ENGINE", "NAME", "HOST", "PORT", "USER", "OPTIONS")
    entry = {key: chosen[key] for key in keys if key in chosen}
    return {"default": entry, alias: entry}


@pytest.mark.parametrize("alias", ["default", "postgres"])
@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_four_processes_never_pass_the_limit_and_lose_nothing(
    alias: str, postgres_alias: str
) -> None:
    limit, amount = 400, 7
    given = {
        "DATABASES": _databases(alias),
        "OBC_AI": {"DATABASE": alias},
        "holds": [["narrow", limit], ["wide", 10**6], ["counted", None]],
        "calls": 40,
        "amount": amount,
    }
    settled = run_together("tests.backends.reserve_in_process", given)
    with override_settings(OBC_AI={"DATABASE": alias}):
        totals = DatabaseCostStore().totals(["narrow", "wide", "counted"])
    assert set(totals.values()) == {BudgetTotals(spent_nano=sum(settled), held_nano=0)}
    # Not one more call would have fitted in, and none too many was let in.
    assert limit - amount < sum(settled) <= limit
    rows = CostReservation.objects.using(alias)
    assert rows.count() == len(settled)
    assert not rows.filter(is_open=True).exists()
