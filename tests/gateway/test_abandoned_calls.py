"""A call has one row, whatever died, was stopped, spooled or announced in between."""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.gateway import alerts, inserts, leases, ledger, recovery, spool
from django_obc_ai.models import AIOperation
from django_obc_ai.types import (
    Amount,
)
from tests.gateway.conftest import Scripted
from tests.gateway.holds import (
    TOTAL,
    held_by_the_dead,
    pass_the_lease,
    record,
    rows,
    totals,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _forget_the_dead() -> Iterator[None]:
    yield
    for reservation in list(leases._holds.open):
        leases.drop(reservation)
    alerts._known.clear()


CEILING = (Decimal("0.0004"), False, False)
OWN = (Decimal("0.0001"), True, True)


def test_a_dead_owners_hold_becomes_an_inexact_row(scripted: Scripted) -> None:
    scripted(BUDGETS=TOTAL)
    operation = uuid.uuid4()
    held_by_the_dead(operation)
    pass_the_lease()
    assert recovery.sweep() == 1
    row = AIOperation.objects.get()
    assert (row.pk, row.module, row.error_category) == (operation, "mana", "abandoned")
    assert (rows(), totals()) == ([CEILING], (400_000, 0))
    assert recovery.sweep() == 0
    assert (rows(), totals()) == ([CEILING], (400_000, 0))


def test_a_call_that_was_only_stopped_puts_its_own_row_in_the_place_once(
    scripted: Scripted,
) -> None:
    scripted(BUDGETS=TOTAL)
    operation = uuid.uuid4()
    hold = held_by_the_dead(operation)
    pass_the_lease()
    recovery.sweep()
    record(operation, "0.0001")
    hold.settle(Decimal("0.0001"))
    assert (rows(), totals()) == ([OWN], (100_000, 0))
    record(operation, "0.0003")  # a repetition changes nothing
    hold.settle(Decimal("0.0003"))
    assert (rows(), totals()) == ([OWN], (100_000, 0))


def test_a_bill_that_has_replaced_the_ceiling_is_not_replaced_again(scripted: Scripted) -> None:
    scripted(BUDGETS=TOTAL)
    operation = uuid.uuid4()
    held_by_the_dead(operation)
    pass_the_lease()
    recovery.sweep()
    AIOperation.objects.update(cost_usd=Decimal("0.0002"), cost_known=True)  # as reconciling does
    record(operation, "0.0001")
    assert rows() == [(Decimal("0.0002"), True, False)]


def test_whoever_books_later_finds_the_row_of_a_call_that_ended(scripted: Scripted) -> None:
    scripted(BUDGETS=TOTAL)
    operation = uuid.uuid4()
    hold = held_by_the_dead(operation)
    pass_the_lease()
    (expired,) = cost_stores["default"].expire()
    record(operation, "0.0001")
    hold.settle(Decimal("0.0001"))
    recovery._book(cost_stores["default"], expired)
    assert (rows(), totals()) == ([OWN], (100_000, 0))


def test_a_row_that_waits_in_the_spool_is_taken_up_before_its_hold_is_booked(
    scripted: Scripted, tmp_path: Path
) -> None:
    """Killed after the row was spooled, since the database was away, and before the settlement."""
    scripted(BUDGETS=TOTAL, LOG={"spool": str(tmp_path)})
    operation = uuid.uuid4()
    held_by_the_dead(operation)
    spool.write(row_of(operation, "0.0001"), "default")
    pass_the_lease()
    assert recovery.sweep() == 1
    assert (rows(), totals()) == ([OWN], (100_000, 0))
    assert not list(tmp_path.glob("**/*.json"))


def test_a_row_in_another_machines_spool_takes_the_place_later(
    scripted: Scripted, tmp_path: Path
) -> None:
    scripted(BUDGETS=TOTAL, LOG={"spool": str(tmp_path / "here")})
    operation = uuid.uuid4()
    held_by_the_dead(operation)
    pass_the_lease()
    recovery.sweep()
    assert rows() == [CEILING]
    spool.write(row_of(operation, "0.0001"), "default")  # what the other machine drains
    assert ledger.drain("default").stored == 1
    assert rows() == [OWN]


def test_an_announcement_and_a_hold_of_one_call_are_booked_once(
    scripted: Scripted, tmp_path: Path
) -> None:
    scripted(BUDGETS=TOTAL, LOG={"spool": str(tmp_path)})
    operation = uuid.uuid4()
    held_by_the_dead(operation)
    left = row_of(operation, "0.0004")
    left.cost_known, left.success, left.error_category = False, False, "abandoned"
    folder = tmp_path / "in_flight"
    folder.mkdir()
    (folder / "dead.lock").touch()
    name = f"{spool.mark_of('default')}-dead-{operation}.json"
    (folder / name).write_text(spool.dump(left))
    assert ledger.drain("default").stored == 1  # before the lease has ended
    assert (rows(), totals()) == ([CEILING], (0, 400_000))
    pass_the_lease()
    assert recovery.sweep() == 1
    assert (rows(), totals()) == ([CEILING], (400_000, 0))


def test_a_second_attempts_hold_raises_what_is_presumed_of_the_call(scripted: Scripted) -> None:
    scripted(BUDGETS=TOTAL)
    operation = uuid.uuid4()
    held_by_the_dead(operation)
    held_by_the_dead(operation, before=Amount(nano=400_000, tokens=100, requests=1))
    pass_the_lease()
    assert recovery.sweep() == 2
    assert rows() == [(Decimal("0.0008"), False, False)]
    assert totals() == (800_000, 0)


def test_totals_are_not_rebuilt_while_rows_wait(scripted: Scripted, tmp_path: Path) -> None:
    scripted(BUDGETS=TOTAL, LOG={"spool": str(tmp_path)})
    spool.write(row_of(uuid.uuid4(), "0.0001"), "default")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inserts, "store", _fails)
        with pytest.raises(CostStoreError, match="Operations wait in"):
            recovery.rebuild()
    assert recovery.rebuild()
    assert (rows(), totals()) == ([OWN], (100_000, 0))


def test_what_a_stopped_process_has_in_flight_counts_in_rebuilt_totals(
    scripted: Scripted, tmp_path: Path
) -> None:
    scripted(BUDGETS=TOTAL, LOG={"spool": str(tmp_path)})
    assert recovery.rebuild()  # used from now on
    operation = uuid.uuid4()
    left = row_of(operation, "0.0004")
    left.cost_known, left.success, left.error_category = False, False, "abandoned"
    folder = tmp_path / "in_flight"
    folder.mkdir()
    (folder / f"{spool.mark_of('default')}-stopped-{operation}.json").write_text(spool.dump(left))
    with (folder / "stopped.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert recovery.rebuild()
        assert (rows(), totals()) == ([CEILING], (400_000, 0))
    record(operation, "0.0001")
    assert rows() == [OWN]


def _fails(*_: Any) -> bool:
    raise OperationalError("away")


def row_of(operation: uuid.UUID, cost: str) -> AIOperation:
    return AIOperation(
        id=operation, module="mana", provider="default", success=True, cost_usd=Decimal(cost),
        prompt_hash="", created_at=timezone.now(),
    )  # fmt: skip


def test_a_process_that_died_after_its_row_is_settled_by_it(scripted: Scripted) -> None:
    scripted(BUDGETS=TOTAL)
    operation = uuid.uuid4()
    held_by_the_dead(operation, before=Amount(nano=50_000))
    record(operation, "0.00025")
    pass_the_lease()
    recovery.sweep()
    assert AIOperation.objects.count() == 1
    assert totals() == (200_000, 0)
