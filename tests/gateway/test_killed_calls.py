"""Killed, forked and replaced: what becomes of a process's writer and of its calls in flight."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction

from django_obc_ai.gateway import ledger, spool
from django_obc_ai.models import AIOperation
from django_obc_ai.models.writer import close_writers, with_writer
from django_obc_ai.testing import Reply
from tests.gateway.conftest import ANSWER, PRICES, SpoolOf, ask, pks

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "postgres"]),
    pytest.mark.usefixtures("postgres_alias"),
]
ROOT = Path(__file__).parents[2]


def test_a_writer_that_died_is_replaced(spooled: SpoolOf, monkeypatch: pytest.MonkeyPatch) -> None:
    spooled(DATABASE="postgres")
    monkeypatch.setitem(connections["postgres"].settings_dict, "CONN_MAX_AGE", None)
    monkeypatch.setattr("django_obc_ai.models.writer._is_test_run", lambda: False)
    pids = []
    try:
        for _ in range(2):
            with transaction.atomic(using="postgres"):
                ask()
                transaction.set_rollback(True, using="postgres")
            pids.append(with_writer("postgres", _backend_of))
            with connections["postgres"].cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pids[-1]])
    finally:
        close_writers()
    assert pids[0] != pids[1]
    assert AIOperation.objects.count() == 2
    assert spool.find(None) == []


def _backend_of(writer: Any) -> int:
    with writer.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


_FORKING = """
import os, sys, django
from django.conf import settings
settings.configure(**eval(sys.argv[1]))
django.setup()
from django.db import connections, transaction
from django_obc_ai.services.text import TextService
from django_obc_ai.models import AIOperation

def rolled_back():
    with transaction.atomic():
        result = TextService().generate_text("Q", use_cache=False)
        assert result.success
        transaction.set_rollback(True)

rolled_back()
connections.close_all()
child = os.fork()
rolled_back()
connections.close_all()
if child == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
rolled_back()
connections.close_all()
"""


def test_a_forked_child_opens_its_own_writer_and_leaves_its_parents_alone(
    postgres_alias: str, folder: Path
) -> None:
    database = {k: v for k, v in connections.databases[postgres_alias].items() if k != "TEST"}
    database["CONN_MAX_AGE"] = None
    scripted = {
        "BACKEND": "django_obc_ai.testing.ScriptedProvider",
        "OPTIONS": {"script": ["A"], "repeat_last": True},
    }
    settings = {
        "DATABASES": {"default": database},
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "django_obc_ai"],
        "SECRET_KEY": "x",
        "USE_TZ": True,
        "OBC_AI": {
            "PROVIDERS": {"default": scripted},
            "LOG": {"spool": str(folder)},
            "PRICES": PRICES,
        },
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _FORKING, repr(settings)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert AIOperation.objects.using(postgres_alias).count() == 4
    assert not list(folder.glob("**/*.json"))


_KILLED = """
import os, signal, sys, django
from django.conf import settings
given = eval(sys.argv[1])
settings.configure(**given["settings"])
django.setup()
from django_obc_ai.backends.providers import providers
from django_obc_ai.gateway.book import CallBook
from django_obc_ai.services.text import TextService

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if given["moment"] == "while the provider answers":
    settings.OBC_AI["PROVIDERS"]["default"]["OPTIONS"]["script"] = [kill]
elif given["moment"] == "between the answer and the row":
    CallBook.finish = kill
else:
    from django_obc_ai.gateway import intents
    intents.withdraw = kill
TextService().generate_text("Q", use_cache=False, include_context=False, max_output_tokens=100)
"""


@pytest.mark.parametrize("alias", ["default", "postgres"])
@pytest.mark.parametrize(
    ("moment", "cost", "is_known"),
    [
        ("while the provider answers", "0.000433", False),
        ("between the answer and the row", "0.000433", False),
        ("between the row and the withdrawal", "0.000931", True),
    ],
)
def test_a_killed_process_leaves_its_ceiling_or_its_row(
    spooled: SpoolOf, folder: Path, alias: str, moment: str, cost: str, is_known: bool
) -> None:
    database = {k: v for k, v in connections.databases[alias].items() if k != "TEST"}
    usage = "django_obc_ai.types"
    scripted = {
        "BACKEND": "django_obc_ai.testing.ScriptedProvider",
        "OPTIONS": {"script": [("A", 131, 200)]},
    }
    settings = {
        "DATABASES": {"default": database},
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "django_obc_ai"],
        "SECRET_KEY": "x",
        "USE_TZ": True,
        "OBC_AI": {
            "PROVIDERS": {"default": scripted},
            "LOG": {"spool": str(folder)},
            "PRICES": PRICES,
        },
    }
    reply = (
        f"from {usage} import Usage\nfrom django_obc_ai.testing import Reply\n"
        "o = settings.OBC_AI['PROVIDERS']['default']['OPTIONS']\n"
        "o['script'] = [Reply(t, usage=Usage(input_tokens=i, output_tokens=n))"
        " for t, i, n in o['script']]\n"
    )
    script = _KILLED.replace("def kill", f"{reply}\ndef kill", 1)
    done = subprocess.run(
        [sys.executable, "-c", script, repr({"settings": settings, "moment": moment})],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -9, done.stderr
    spooled(DATABASE=alias)
    announced = list(folder.glob("in_flight/*.json"))
    assert len(announced) == 1
    assert AIOperation.objects.count() == int(is_known)
    assert ledger.drain(alias).stored == int(not is_known)
    row = AIOperation.objects.get()
    assert (row.cost_usd, row.cost_known) == (Decimal(cost), is_known)
    assert row.success is is_known
    assert not list(folder.glob("in_flight/*"))
    assert ledger.drain(alias) == ledger.DrainReport()


def test_a_call_in_flight_is_nobodys_to_book(spooled: SpoolOf, folder: Path) -> None:
    found = []

    def answer(_: Any) -> Reply:
        found.append(len(list(folder.glob("in_flight/*.json"))))
        script = (
            "import sys, django\nfrom django.conf import settings\n"
            "settings.configure(OBC_AI={'LOG': {'spool': sys.argv[1]}}, SECRET_KEY='x',"
            " INSTALLED_APPS=['django.contrib.auth', 'django.contrib.contenttypes',"
            " 'django_obc_ai'], DATABASES=eval(sys.argv[2]))\ndjango.setup()\n"
            "from django_obc_ai.gateway import intents\n"
            "print(len(list(intents.find_abandoned('default'))))"
        )
        database = {k: v for k, v in connections.databases["default"].items() if k != "TEST"}
        command = [sys.executable, "-c", script, str(folder), repr({"default": database})]
        found.append(int(subprocess.check_output(command, cwd=ROOT, timeout=60)))
        return ANSWER

    spooled(answer)
    asked = ask()
    assert found == [1, 0]
    assert pks() == {asked.operation_id}
    assert not list(folder.glob("in_flight/*.json"))


def test_a_call_under_a_budget_is_announced_too(spooled: SpoolOf, folder: Path) -> None:
    """Its hold is lost with a store that is lost; one call has one row, whoever books it."""
    seen = []

    def answer(_: Any) -> Reply:
        seen.append(len(list(folder.glob("in_flight/*.json"))))
        return ANSWER

    spooled(answer, BUDGETS=[{"scope": "global", "period": "day", "limit_usd": "5"}])
    ask()
    assert seen == [1]
    assert not list(folder.glob("in_flight/*.json"))


def test_the_cost_that_was_spooled_comes_before_the_ceiling_that_was_announced(
    spooled: SpoolOf, folder: Path
) -> None:
    """Killed between the two, with a backlog that one run does not work off."""
    spooled()
    made = [AIOperation(provider="p", success=True, cost_usd=Decimal(1)) for _ in range(3)]
    assert all(spool.write(each, "default") for each in made)
    last = AIOperation(pk=max(each.pk for each in made), provider="p", success=False)
    last.cost_usd, last.cost_known = Decimal(9), False
    (folder / "in_flight").mkdir()
    (folder / "in_flight" / "dead.lock").touch()
    name = f"{spool.mark_of('default')}-dead-{last.pk}.json"
    (folder / "in_flight" / name).write_text(spool.dump(last))
    assert ledger.drain("default", limit=2) == ledger.DrainReport(stored=2, left=2)
    assert ledger.drain("default") == ledger.DrainReport(stored=1, known=1)
    assert set(AIOperation.objects.values_list("cost_usd", "cost_known")) == {(Decimal(1), True)}
    assert not list(folder.glob("**/*.json"))


def test_a_killed_call_waits_for_a_database_that_is_away(spooled: SpoolOf, folder: Path) -> None:
    spooled()
    call = AIOperation(provider="p", success=False, cost_usd=Decimal(9), cost_known=False)
    (folder / "in_flight").mkdir(parents=True)
    (folder / "in_flight" / "dead.lock").touch()
    path = folder / "in_flight" / f"{spool.mark_of('default')}-dead-{call.pk}.json"
    path.write_text(spool.dump(call))
    table = AIOperation._meta.db_table
    with connections["default"].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
    try:
        assert ledger.drain("default") == ledger.DrainReport(left=1)
    finally:
        with connections["default"].cursor() as cursor:
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")
    assert ledger.drain("default") == ledger.DrainReport(stored=1)
    assert pks() == {call.pk}
