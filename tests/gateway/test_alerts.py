"""Thresholds are announced once, by row, signal, log and mail."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import django
import pytest
from django.core import mail
from django.db import connections
from django.test import override_settings

from django_obc_ai.conf import BudgetSettings
from django_obc_ai.gateway import alerts, leases
from django_obc_ai.gateway.policy import Applied
from django_obc_ai.models import BudgetAlert
from django_obc_ai.signals import budget_threshold_reached
from django_obc_ai.testing import Reply
from django_obc_ai.types import (
    BudgetTotals,
    Usage,
)
from tests.gateway.conftest import Scripted
from tests.gateway.test_budget import ask
from tests.gateway.test_budget_scopes import entry

pytestmark = pytest.mark.django_db(transaction=True)


#: Newer Django asks for MAILERS, which older ones do not know.
_SENDS_MAIL = pytest.mark.filterwarnings("ignore:.*(MAILERS|mailer)")


@pytest.fixture(autouse=True)
def _forget_the_dead() -> Iterator[None]:
    yield
    for reservation in list(leases._holds.open):
        leases.drop(reservation)
    alerts._known.clear()


@_SENDS_MAIL
def test_each_threshold_is_announced_once_with_row_signal_log_and_mail(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[int] = []

    def listen(alert: BudgetAlert, **_: Any) -> None:
        heard.append(alert.percent)

    answers = [Reply("A", usage=Usage(input_tokens=1, output_tokens=100)) for _ in range(5)]
    budgets = [entry(period="month", limit_usd="0.002")]
    budget_threshold_reached.connect(listen)
    try:
        with caplog.at_level(logging.WARNING, "django_obc_ai.budget"):
            scripted(*answers, BUDGETS=budgets, MONEY={"alert_emails": ["chief@example.org"]})
            for _ in range(3):
                assert ask().success
            assert heard == []
            assert ask(max_output_tokens=50).success
    finally:
        budget_threshold_reached.disconnect(listen)
    # 4 x $0.000401 of $0.002 are 80 %.
    assert heard == [75]
    alert = BudgetAlert.objects.get()
    assert (alert.percent, alert.level, alert.spent) == (75, "warning", 1_604_000)
    assert [each.to for each in mail.outbox] == [["chief@example.org"]]
    assert "75 %" in mail.outbox[0].subject and "$0.001604 of $0.002" in mail.outbox[0].body
    assert any("75 % or more" in each.message for each in caplog.records)


def test_a_thousand_crossings_give_one_alert_per_threshold() -> None:
    key = f"global:day:{uuid.uuid4()}"
    found = [
        Applied(
            budget=BudgetSettings(scope="global", period="day", limit=Decimal(1)),
            key=key,
            limit=100,
            resets_at=None,
        )
    ]
    heard: list[int] = []
    lock = threading.Lock()

    def listen(alert: BudgetAlert, **_: Any) -> None:
        with lock:
            heard.append(alert.percent)

    def cross(number: int) -> None:
        alerts._known.clear()  # as in a process that knows of nothing
        alerts.announce(found, {key: BudgetTotals(spent_nano=95)}, lambda limit: limit)

    def step(numbers: range) -> None:
        try:
            for number in numbers:
                cross(number)
        finally:
            connections.close_all()

    budget_threshold_reached.connect(listen)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(step, [range(125)] * 8))
    finally:
        budget_threshold_reached.disconnect(listen)
    assert sorted(heard) == [75, 90]
    assert BudgetAlert.objects.count() == 2


@_SENDS_MAIL
def test_a_mail_server_that_fails_costs_nobody_an_answer(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted(
        Reply("A", usage=Usage(input_tokens=1, output_tokens=100)),
        BUDGETS=[entry(period="week", limit_usd="0.00044")],
        MONEY={"alert_emails": ["chief@example.org"]},
    )
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    away: dict[str, Any] = {"EMAIL_BACKEND": smtp, "EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": 1}
    if django.VERSION >= (6, 1):
        options = {"host": "127.0.0.1", "port": 1}
        away = {"MAILERS": {"default": {"BACKEND": smtp, "OPTIONS": options}}}
    with override_settings(**away):
        assert ask().success
    assert "was not sent" in caplog.text


@_SENDS_MAIL
def test_local_times_without_a_zone_take_no_answer_that_is_paid_for(scripted: Scripted) -> None:
    answer = Reply("A", usage=Usage(input_tokens=1, output_tokens=100))
    scripted(answer, BUDGETS=[entry(period="month", limit_usd="0.0005")])
    with override_settings(USE_TZ=False):
        assert ask().success
        alert = BudgetAlert.objects.first()
    assert alert is not None and alert.resets_at is not None and alert.resets_at.tzinfo is None
