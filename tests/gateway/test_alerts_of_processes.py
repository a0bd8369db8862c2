"""Several processes that reach the same thresholds at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest

from django_obc_ai.models import BudgetAlert
from tests.backends.test_database_cost_store import _databases
from tests.subprocesses import ROOT

_PROCESSES = 4


@pytest.mark.parametrize("alias", ["default", "postgres"])
@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_one_of_four_processes_announces_each_threshold(alias: str, postgres_alias: str) -> None:
    keys = [f"global:day:{number}" for number in range(50)]
    given = {"DATABASES": _databases(alias), "OBC_AI": {"DATABASE": alias}, "keys": keys}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.gateway.announce_in_process", json.dumps(given)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(_PROCESSES)
    ]
    heard: list[tuple[str, int]] = []
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0
            heard += [(key, percent) for key, percent in json.loads(output)]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert Counter(heard) == Counter((key, percent) for key in keys for percent in (75, 90))
    rows = BudgetAlert.objects.using(alias).values_list("key", "percent")
    assert sorted(rows) == sorted(heard)
