"""Several processes that reach the same thresholds at once."""

from __future__ import annotations

from collections import Counter

import pytest

from django_obc_ai.models import BudgetAlert
from tests.backends.test_database_cost_store import _databases
from tests.subprocesses import run_together


@pytest.mark.parametrize("alias", ["default", "postgres"])
@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_one_of_four_processes_announces_each_threshold(alias: str, postgres_alias: str) -> None:
    keys = [f"global:day:{number}" for number in range(50)]
    given = {"DATABASES": _databases(alias), "OBC_AI": {"DATABASE": alias}, "keys": keys}
    said = run_together("tests.gateway.announce_in_process", given)
    heard = [(key, percent) for key, percent in said]
    assert Counter(heard) == Counter((key, percent) for key in keys for percent in (75, 90))
    rows = BudgetAlert.objects.using(alias).values_list("key", "percent")
    assert sorted(rows) == sorted(heard)
