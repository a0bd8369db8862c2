"""check_budgets, send_cost_report and expire_reservations: once, however many run them."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import django
import pytest
from django.contrib.auth.models import Group, User
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.gateway import alerts
from django_obc_ai.models import Budget, BudgetAlert, CostTotal, TaskState
from django_obc_ai.querysets import current_day
from django_obc_ai.services import tasks
from django_obc_ai.services.budgets import check_budgets
from django_obc_ai.services.reports import send_cost_report
from django_obc_ai.testing import override_ai
from django_obc_ai.types import Amount, BudgetHold
from tests.fakes import entry
from tests.services.test_costs import spend
from tests.subprocesses import run_together
from tests.task_runners import of_this_test

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # Newer Django asks for MAILERS, which older ones do not know.
    pytest.mark.filterwarnings("ignore:.*(MAILERS|mailer)"),
]
STORE = entry("django_obc_ai.backends.cost_stores.database.DatabaseCostStore")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    alerts._known.clear()


def settle(key: str, usd: str, alias: str = "default") -> None:
    store, reservation = cost_stores[alias], uuid.uuid4()
    nano = int(Decimal(usd) * 10**9)
    store.reserve(reservation, [BudgetHold(key=key, limit_nano=None)], Amount(nano=nano))
    store.settle(reservation, Amount(nano=nano))


def announced() -> set[tuple[str, int]]:
    return set(BudgetAlert.objects.values_list("key", "percent"))


def budget(**facts: Any) -> dict[str, Any]:
    return {"scope": "global", "period": "total", "limit_usd": "1", **facts}


def test_what_was_not_announced_is_announced_once() -> None:
    with override_ai(COST_STORES=STORE, BUDGETS=[budget()]):
        settle("global:total:always", "0.80")
        assert announced() == set()  # a settlement of the store alone announces nothing
        for _ in range(3):
            alerts._known.clear()  # as in a new process
            tasks.run("check_budgets", {})
        assert announced() == {("global:total:always", 75)}


def test_a_lowered_limit_is_announced_without_a_call() -> None:
    with override_ai(COST_STORES=STORE):
        row = Budget.objects.create(scope="global", period="total", limit_usd=Decimal(10))
        settle("global:total:always", "0.95")
        check_budgets()
        assert announced() == set()
        row.limit_usd = Decimal(1)
        row.save()
        check_budgets()
        assert announced() == {("global:total:always", 75), ("global:total:always", 90)}


def test_budgets_of_each_module_and_group_are_looked_at_for_their_whole_period() -> None:
    week_ago = f"{timezone.now() - datetime.timedelta(days=7):%Y-%m-%dT%H:%M:%S}"
    spend(0, week_ago, module="mana")
    User.objects.create(username="amina").groups.add(Group.objects.create(name="staff"))
    budgets = [budget(scope="module"), budget(scope="group")]
    with override_ai(COST_STORES=STORE, BUDGETS=budgets):
        for key in ("module=mana:total:always", "group=staff:total:always"):
            settle(key, "0.80")
        states = check_budgets()
    assert announced() == {("module=mana:total:always", 75), ("group=staff:total:always", 75)}
    assert {state.key: round(state.percent) for state in states} == {
        "module=mana:total:always": 80,
        "group=staff:total:always": 80,
    }


def test_each_store_is_measured_by_its_share() -> None:
    stores = {**STORE, "second": entry("django_obc_ai.testing.MemoryCostStore")["default"]}
    stores["second"]["BACKEND"] = "django_obc_ai.backends.cost_stores.memory.MemoryCostStore"
    money = {"stand_in": "second", "stand_in_percent": 20}
    with override_ai(COST_STORES=stores, BUDGETS=[budget()], MONEY=money):
        settle("global:total:always", "0.50")
        settle("global:total:always", "0.16", "second")
        (state,) = check_budgets()
    assert announced() == {("global:total:always", 75)}  # 0.16 of the stand-in's 0.20
    assert (state.spent, state.limit) == (660_000_000, 1_000_000_000)


def test_four_processes_announce_each_threshold_once(tmp_path: Path) -> None:
    budgets = [budget(scope="module", key=f"m{number}") for number in range(20)]
    settings = {"COST_STORES": STORE, "BUDGETS": budgets}
    with override_ai(**settings):
        for number in range(20):
            settle(f"module=m{number}:total:always", "0.80")
    run_together(
        "tests.task_in_process",
        {
            **of_this_test(**settings, MONEY={"alert_emails": ["chief@example.org"]}),
            "SETTINGS": mail_to(tmp_path),
            "run": [["check_budgets", {}]],
        },
    )
    assert len(announced()) == 20
    assert letters(tmp_path) == 20


def mail_to(folder: Path) -> dict[str, Any]:
    """Settings by which each letter becomes a file of its own."""
    path = "django.core.mail.backends.filebased.EmailBackend"
    shared = {"ADMINS": [["Amina", "amina@example.org"]], "TIME_ZONE": "Asia/Manila"}
    if django.VERSION >= (6, 1):
        mailers = {"default": {"BACKEND": path, "OPTIONS": {"file_path": str(folder)}}}
        return {**shared, "ADMINS": ["amina@example.org"], "MAILERS": mailers}
    return {**shared, "EMAIL_BACKEND": path, "EMAIL_FILE_PATH": str(folder)}


def letters(folder: Path) -> int:
    return sum(file.read_text().count("Subject: ") for file in folder.glob("*.log"))


def test_the_command_prints_every_budget_the_most_used_first() -> None:
    out = StringIO()
    budgets = [budget(), budget(limit_usd=None, limit_requests=4, period="day")]
    budgets[1].pop("limit_usd")
    with override_ai(COST_STORES=STORE, BUDGETS=budgets):
        settle("global:total:always", "0.80")
        call_command("check_budgets", stdout=out)
    day = current_day()
    assert out.getvalue().splitlines() == [
        " 80.0 %  global:total:always: $0.80 of $1.00",
        f"  0.0 %  global:day:{day}:requests: 0 requests of 4 requests",
    ]


def test_holds_of_dead_processes_are_booked_in_every_store(monkeypatch: pytest.MonkeyPatch) -> None:
    with override_ai(COST_STORES=STORE, BUDGETS=[budget()]):
        store = cost_stores["default"]
        hold = BudgetHold(key="global:total:always", limit_nano=None)
        store.reserve(uuid.uuid4(), [hold], Amount(nano=7))
        monkeypatch.setattr(type(store), "clock", staticmethod(lambda: 2e10))
        out = StringIO()
        call_command("expire_reservations", stdout=out)
        assert out.getvalue() == "1 holds of dead processes were booked.\n"
        tasks.run("expire_reservations", {})
        assert CostTotal.objects.get().spent_nano == 7


@pytest.fixture
def _admins() -> Iterator[None]:
    admins: Any = ["amina@example.org"] if django.VERSION >= (6, 0) else [("A", "a@example.org")]
    with override_settings(ADMINS=admins):
        yield


@pytest.mark.usefixtures("_admins")
def test_a_days_report_is_sent_once_however_often_the_task_runs() -> None:
    for _ in range(3):
        tasks.run("send_cost_report", {})
    day = current_day() - datetime.timedelta(days=1)
    (letter,) = mail.outbox
    assert letter.subject.endswith(f"AI costs of {day}")
    assert TaskState.objects.get(name="send_cost_report", key=str(day)).is_ok
    tasks.run("send_cost_report", {"day": "2026-07-15"})
    assert len(mail.outbox) == 2


@pytest.mark.usefixtures("_admins")
def test_a_mail_server_that_fails_leaves_the_report_to_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> int:
        raise ConnectionRefusedError(111, "Connection refused")

    with monkeypatch.context() as patch, pytest.raises(ConnectionRefusedError):
        patch.setattr(EmailBackend, "send_messages", refuse)
        tasks.run("send_cost_report", {})
    assert not TaskState.objects.get(name="send_cost_report", key="").is_ok
    tasks.run("send_cost_report", {})
    assert len(mail.outbox) == 1


@pytest.mark.usefixtures("_admins")
def test_a_sender_that_died_is_replaced_after_some_minutes() -> None:
    day = str(current_day() - datetime.timedelta(days=1))
    row = TaskState.objects.create(name="send_cost_report", key=day, owner="dead")
    row.lease_until = timezone.now() + datetime.timedelta(minutes=4)
    row.save()
    assert not send_cost_report()
    TaskState.objects.update(lease_until=timezone.now())
    assert send_cost_report()
    assert len(mail.outbox) == 1


def test_a_day_that_is_not_over_has_no_report_yet() -> None:
    with pytest.raises(ValueError, match="is not over"):
        send_cost_report(str(current_day()))


@pytest.mark.usefixtures("_admins")
def test_a_person_who_asks_gets_it_again() -> None:
    tasks.run("send_cost_report", {})
    call_command("send_cost_report", stdout=StringIO())
    assert len(mail.outbox) == 2


def test_four_processes_send_one_report(tmp_path: Path) -> None:
    given = {**of_this_test(), "SETTINGS": mail_to(tmp_path)}
    run_together("tests.task_in_process", {**given, "run": [["send_cost_report", {}]] * 2})
    assert letters(tmp_path) == 1
