"""Work that is repeated when the database was busy, and whose transaction it is."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connections, transaction

from django_obc_ai.models import connections as tested

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "postgres"]),
    pytest.mark.usefixtures("postgres_alias"),
]


class Busy:
    """Work that the database refuses a number of times."""

    def __init__(self, times: int) -> None:
        self.times, self.calls = times, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise OperationalError("database is locked")
        return "done"


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "_sleep", lambda seconds: None)


@pytest.fixture(params=["default", "postgres"])
def alias(request: pytest.FixtureRequest) -> str:
    return request.param


def test_work_is_repeated_outside_a_transaction(alias: str) -> None:
    work = Busy(2)
    assert tested.persist(alias, work) == "done"
    assert work.calls == 3


def test_work_is_given_up_after_the_last_attempt(alias: str) -> None:
    work = Busy(9)
    with pytest.raises(OperationalError):
        tested.persist(alias, work, attempts=3)
    assert work.calls == 3


def test_nothing_is_repeated_in_an_atomic_block(alias: str) -> None:
    work = Busy(1)
    with transaction.atomic(using=alias), pytest.raises(OperationalError):
        tested.persist(alias, work)
    assert work.calls == 1


def test_with_autocommit_switched_off_the_callers_rows_are_still_theirs(alias: str) -> None:
    """To connect anew, as is done outside a transaction, would take them back."""
    transaction.set_autocommit(False, using=alias)
    try:
        Group.objects.using(alias).create(name="theirs")
        work, held = Busy(1), connections[alias].connection
        with pytest.raises(OperationalError):
            tested.persist(alias, work)
        assert work.calls == 1
        assert connections[alias].connection is held
        transaction.commit(using=alias)
    finally:
        transaction.set_autocommit(True, using=alias)
    assert Group.objects.using(alias).filter(name="theirs").exists()
