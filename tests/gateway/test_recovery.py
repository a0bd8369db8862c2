"""Dead owners, lost stores, stand-ins, and thresholds that are announced once."""

from __future__ import annotations

import datetime
import json
import logging
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
import valkey
from django.core import mail
from django.db import connections
from django.test import override_settings

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.conf import BudgetSettings
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.gateway import alerts, budget, leases, recovery
from django_obc_ai.gateway.policy import Applied
from django_obc_ai.models import AIOperation, BudgetAlert
from django_obc_ai.signals import budget_threshold_reached
from django_obc_ai.testing import Reply
from django_obc_ai.types import Amount, BudgetTotals, CallInfo, GenerationRequest, Usage
from tests.gateway.conftest import Scripted
from tests.gateway.test_budget import ask
from tests.gateway.test_budget_scopes import entry
from tests.servers.valkey import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

#: Newer Django asks for MAILERS, which older ones do not know.
_SENDS_MAIL = pytest.mark.filterwarnings("ignore:.*(MAILERS|mailer)")


@pytest.fixture(autouse=True)
def _forget_the_dead() -> Iterator[None]:
    yield
    for reservation in list(leases._keeper.open):
        leases.drop(reservation)
    alerts._known.clear()


TOTAL = [entry(period="total", limit_usd="0.001")]
KEY = "global:total:always"
_STORES = "django_obc_ai.backends.cost_stores"


def totals() -> tuple[int, int]:
    found = cost_stores["default"].totals([KEY])[KEY]
    return found.spent_nano, found.held_nano


def held_by_the_dead(**changes: Any) -> budget.Hold:
    """A hold as a process leaves it that is killed during its call."""
    info = CallInfo(operation_id=uuid.uuid4(), module="mana", **changes)
    now = datetime.datetime.now(datetime.UTC)
    return budget.reserve(
        budget.Attempt(
            ceiling_usd=Decimal("0.0004"), tokens=100, model="scripted", info=info, at=now
        )
    )


def pass_the_lease() -> None:
    store = cost_stores["default"]
    now = datetime.datetime.now(datetime.UTC).timestamp() + store.lease_seconds + 1
    store.clock = lambda: now


def test_a_dead_owners_hold_becomes_an_inexact_row(scripted: Scripted) -> None:
    scripted(BUDGETS=TOTAL)
    hold = held_by_the_dead()
    pass_the_lease()
    assert recovery.sweep() == 1
    row = AIOperation.objects.get()
    assert (row.cost_usd, row.cost_known, row.module) == (Decimal("0.0004"), False, "mana")
    assert (row.error_category, row.success) == ("lease_expired", False)
    assert totals() == (400_000, 0)
    assert recovery.sweep() == 0
    hold.settle(Decimal("0.0001"))  # it was stopped, not dead
    row.refresh_from_db()
    assert (row.cost_usd, row.cost_known) == (0, True)
    assert totals() == (100_000, 0)


def test_a_late_settle_before_the_row_leaves_no_second_cost(scripted: Scripted) -> None:
    scripted(BUDGETS=TOTAL)
    hold = held_by_the_dead()
    pass_the_lease()
    (expired,) = cost_stores["default"].expire()
    hold.settle(Decimal("0.0001"))
    recovery._book(cost_stores["default"], expired)  # whoever booked was slower
    assert AIOperation.objects.get().cost_usd == 0
    assert totals() == (100_000, 0)


def test_a_process_that_died_after_its_row_is_settled_by_it(scripted: Scripted) -> None:
    scripted(BUDGETS=TOTAL)
    operation = uuid.uuid4()
    now = datetime.datetime.now(datetime.UTC)
    budget.reserve(
        budget.Attempt(
            ceiling_usd=Decimal("0.0004"),
            tokens=100,
            model="scripted",
            info=CallInfo(operation_id=operation),
            at=now,
            before=Amount(nano=50_000),
        )
    )
    AIOperation.objects.create(
        id=operation, provider="default", success=True, cost_usd=Decimal("0.00025"),
        prompt_hash="", created_at=now,
    )  # fmt: skip
    pass_the_lease()
    recovery.sweep()
    assert AIOperation.objects.count() == 1
    assert totals() == (200_000, 0)


def test_the_row_is_written_before_the_hold_is_closed(scripted: Scripted) -> None:
    seen: list[tuple[int, int]] = []
    from django_obc_ai.signals import operation_finished

    def look(operation: AIOperation, **_: Any) -> None:
        seen.append(totals())

    operation_finished.connect(look)
    try:
        scripted(Reply("A", usage=Usage(output_tokens=10)), BUDGETS=TOTAL)
        assert ask().success
    finally:
        operation_finished.disconnect(look)
    assert seen == [(0, 433_000)]
    assert totals() == (40_000, 0)


def test_a_settlement_that_the_store_did_not_take_is_tried_again(
    scripted: Scripted, redis_server: RedisServer
) -> None:
    scripted(BUDGETS=TOTAL, COST_STORES=redis(redis_server))
    hold = held_by_the_dead()
    store: Any = cost_stores["default"]
    url, store._url = store._url, "redis://127.0.0.1:1/0"
    store._process.client = None
    hold.settle(Decimal("0.0001"))
    store._url, store._process.client = url, None
    assert totals() == (0, 400_000)
    leases.settle_again()
    assert totals() == (100_000, 0)


def redis(server: RedisServer, **options: Any) -> dict[str, Any]:
    options = {"url": server.url, **options}
    return {"default": {"BACKEND": f"{_STORES}.redis.RedisCostStore", "OPTIONS": options}}


def test_a_new_redis_is_filled_from_the_ledger_without_waiting(
    scripted: Scripted, redis_server: RedisServer
) -> None:
    AIOperation.objects.create(
        provider="default", success=True, cost_usd=Decimal("0.0008"), prompt_hash=""
    )
    scripted("A", BUDGETS=TOTAL, COST_STORES=redis(redis_server))
    assert "$0.0008 spent" in ask().error_message


def test_an_emptied_redis_refuses_for_a_lease_and_then_knows_everything(
    scripted: Scripted, redis_server: RedisServer
) -> None:
    answer = Reply("A", usage=Usage(output_tokens=100))
    scripted(answer, answer, BUDGETS=TOTAL, COST_STORES=redis(redis_server), RETRY={"attempts": 1})
    assert ask().success
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.flushall()
    refused = ask()
    assert (refused.error, refused.success) == ("transient", False)
    assert "has lost its totals" in refused.error_message
    pass_the_lease()
    assert ask().success
    assert totals() == (800_000, 0)
    assert ask().error == "budget_exceeded"


def test_stand_in_and_store_together_never_pass_the_limit(
    scripted: Scripted, redis_server: RedisServer
) -> None:
    answers = [Reply("A", usage=Usage(input_tokens=33, output_tokens=100)) for _ in range(10)]
    stores = redis(redis_server)
    stores["spare"] = {"BACKEND": f"{_STORES}.database.DatabaseCostStore"}
    kit = scripted(
        *answers,
        BUDGETS=[entry(period="total", limit_usd="0.00433")],  # ten calls
        COST_STORES=stores,
        MONEY={"stand_in": "spare", "stand_in_percent": 40},
        RETRY={"attempts": 1},
    )
    store: Any = cost_stores["default"]
    url = store._url
    outcomes = []
    for number in range(30):
        store._url = "redis://127.0.0.1:1/0" if number % 2 else url
        store._process.client = None
        outcomes.append(ask().success)
    assert kit.provider.call_count == sum(outcomes) == 10
    assert sum(outcomes[0::2]) == 6
    spent = sum(row.cost_usd for row in AIOperation.objects.all())
    assert spent == Decimal("0.00433")


def test_without_a_stand_in_money_fails_closed(scripted: Scripted) -> None:
    stores = {
        "default": {
            "BACKEND": f"{_STORES}.redis.RedisCostStore",
            "OPTIONS": {"url": "redis://127.0.0.1:1/0"},
        }
    }
    kit = scripted("A", BUDGETS=TOTAL, COST_STORES=stores, RETRY={"attempts": 1})
    result = ask()
    assert (result.error, kit.provider.call_count) == ("transient", 0)
    assert "name a stand-in in OBC_AI['MONEY']" in result.error_message
    with pytest.raises(CostStoreError):
        result.raise_for_error()


def test_a_hold_that_lasts_is_renewed_by_its_owner(scripted: Scripted) -> None:
    stores = {"default": {"BACKEND": f"{_STORES}.memory.MemoryCostStore",
                          "OPTIONS": {"lease_seconds": 0.3}}}  # fmt: skip

    def answer(request: GenerationRequest) -> Reply:
        threading.Event().wait(0.9)
        assert cost_stores["default"].expire() == []
        return Reply("A", usage=Usage(output_tokens=10))

    scripted(answer, BUDGETS=TOTAL, COST_STORES=stores)
    assert ask().success
    assert totals() == (40_000, 0)
    assert not any(each.name == "obc-ai-leases" for each in threading.enumerate())


# --- alerts ------------------------------------------------------------------------------------
@_SENDS_MAIL
def test_each_threshold_is_announced_once_with_row_signal_log_and_mail(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[int] = []

    def listen(alert: BudgetAlert, **_: Any) -> None:
        heard.append(alert.percent)

    answers = [Reply("A", usage=Usage(output_tokens=100)) for _ in range(5)]
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
    # 4 x $0.0004 of $0.002 are 80 %.
    assert heard == [75]
    alert = BudgetAlert.objects.get()
    assert (alert.percent, alert.level, alert.spent) == (75, "warning", 1_600_000)
    assert [each.to for each in mail.outbox] == [["chief@example.org"]]
    assert "75 %" in mail.outbox[0].subject and "$0.0016 of $0.002" in mail.outbox[0].body
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
        Reply("A", usage=Usage(output_tokens=100)),
        BUDGETS=[entry(period="week", limit_usd="0.00044")],
        MONEY={"alert_emails": ["chief@example.org"]},
    )
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    with override_settings(EMAIL_BACKEND=smtp, EMAIL_HOST="127.0.0.1", EMAIL_PORT=1):
        assert ask().success
    assert "was not sent" in caplog.text


def test_details_hold_no_prompt() -> None:
    attempt = budget.Attempt(
        ceiling_usd=Decimal(1), tokens=1, model="m", info=CallInfo(operation_id=uuid.uuid4()),
        at=datetime.datetime.now(datetime.UTC),
    )  # fmt: skip
    assert set(json.loads(attempt.details())) == {
        "operation", "operation_type", "module", "user", "scope", "provider", "model", "at",
        "before_nano", "before_tokens",
    }  # fmt: skip
