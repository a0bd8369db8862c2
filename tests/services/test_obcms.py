"""Operations of the original: each in the ledger once, at its cost, and in no budget of today."""

from __future__ import annotations

import datetime
import random
import signal
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from django_obc_ai.gateway import recovery
from django_obc_ai.models import (
    AIOperation,
    ChatMessage,
    Conversation,
    Ledger,
    OperationRollup,
    RollupMark,
)
from django_obc_ai.services import retention, rollups
from django_obc_ai.services.costs import CostTracker
from django_obc_ai.services.explanation import explain_cost
from django_obc_ai.services.obcms import import_obcms
from django_obc_ai.services.reconciliation import reconcile
from django_obc_ai.services.text import TextService
from django_obc_ai.signals import operation_finished
from django_obc_ai.testing import override_ai
from tests import obcms
from tests.obcms import BEGAN, put
from tests.servers.valkey import RedisServer
from tests.subprocesses import ROOT, run_python

pytestmark = pytest.mark.django_db(transaction=True)
DAY = datetime.date(2025, 10, 7)
PRICES = {"scripted": {"input_usd": "1", "output_usd": "4"}}
SCOPES = ("global", "module", "operation_type", "model", "user", "tenant")
KILLED = """
import os, signal, django
django.setup()
from django.db import connection
from django_obc_ai.services.obcms import import_obcms

seen = 0

def kill(execute, sql, *rest):
    global seen
    seen += sql.startswith("INSERT INTO") and TABLE in sql
    if seen == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(sql, *rest)

with connection.execute_wrapper(kill):
    import_obcms()
"""


@pytest.fixture(autouse=True)
def original(transactional_db: None) -> Iterator[None]:
    with obcms.original_in("default"):
        yield


def imported(**values: Any) -> AIOperation:
    """What becomes of one operation."""
    row = obcms.operation(**values)
    put(row)
    assert import_obcms().operations == 1
    return AIOperation.objects.get(pk=row.pk)


def some(seed: int, count: int) -> list[obcms.Operation]:
    chance = random.Random(seed)
    rows = [
        obcms.operation(
            module=chance.choice(["mana", "general"]),
            operation_type=chance.choice(["chat", "analysis"]),
            model_used=chance.choice(["gemini-1.5-pro", "gemini-flash-latest"]),
            cost=Decimal(chance.randrange(10**7)).scaleb(-6),
            cached=chance.random() < 0.2,
            created_at=BEGAN + datetime.timedelta(seconds=chance.randrange(3 * 86_400)),
        )
        for _ in range(count)
    ]
    put(*rows)
    return rows


def test_sums_of_the_ledger_and_of_the_rollups_are_the_originals() -> None:
    rows = some(1, 700)
    report = import_obcms()
    paid = sum(each.cost for each in rows if not each.cached)
    saved = sum(each.cost for each in rows if each.cached)
    assert (report.cost_usd, report.saved_usd, report.operations) == (paid, saved, 700)
    last = DAY + datetime.timedelta(days=3)
    found = CostTracker().get_cost_breakdown(DAY, last, by="module")
    assert {each["key"]: each["cost"] for each in found} == {
        module: sum(each.cost for each in rows if each.module == module and not each.cached)
        for module in ("mana", "general")
    }
    whole = rollups.Tally()
    for each in rollups.read_days(DAY, last).values():  # what the dashboard shows
        whole.merge(each)
    assert whole.cost_usd == paid
    assert whole.sums["saved_nano"] == saved * 10**9
    assert whole.sums["operations"] == 700


def test_a_row_keeps_what_it_was() -> None:
    user = get_user_model().objects.create(username="amina")
    row = imported(
        user_id=user.pk, module="mana", operation_type="evidence_review", error="AIzaSecret"
    )
    assert (row.user_id, row.module, row.operation_type) == (user.pk, "mana", "evidence_review")
    assert (row.model_used, row.provider, row.attempts) == ("gemini-1.5-pro", "obcms", 0)
    assert (row.cost_usd, row.cost_known, row.tokens_exact) == (Decimal("0.001234"), True, False)
    assert (row.total_tokens, row.response_time_ms, row.created_at) == (1200, 1250, BEGAN)
    assert (row.prompt_hash, row.error_message, row.success) == ("", "", True)
    # What was recorded later than the last look is what the rollups look for.
    assert timezone.now() - row.recorded_at < datetime.timedelta(minutes=5)
    (line,) = explain_cost(row)
    assert line == "The cost is what obcms had recorded, $0.001234000."


def test_an_answer_from_the_originals_cache_is_free() -> None:
    row = imported(cached=True, cost=Decimal("0.5"))
    assert (row.cost_usd, row.saved_usd, row.total_tokens) == (0, Decimal("0.5"), 0)
    assert row.cost_known


@pytest.mark.parametrize(
    ("category", "code", "is_known"),
    [
        ("rate_limit", "rate_limited", True),
        ("server_error", "transient", False),
        ("timeout", "timeout", False),
        ("", "unknown", False),
        ("Bad luck", "bad luck", False),
    ],
)
def test_failures_have_the_codes_of_this_package(category: str, code: str, is_known: bool) -> None:
    row = imported(success=False, error_category=category, cost=0)
    assert (row.error_category, row.cost_known, row.success) == (code, is_known, False)
    assert explain_cost(row)[0].endswith(
        "had recorded, $0.000000000." if is_known else "cost more."
    )


def test_what_cannot_be_right_is_told_and_made_to_fit() -> None:
    row = imported(cost=-1, tokens_used=-5, response_time=-1.0, error_category="timeout")
    assert (row.cost_usd, row.cost_known, row.total_tokens) == (0, False, 0)
    assert (row.response_time_ms, row.error_category) == (0, "")
    put(obcms.operation(cost=-1))
    assert import_obcms().notes == {"operations whose cost was no amount: it is 0 and not known": 1}


def test_a_second_run_changes_nothing_and_adds_what_is_new() -> None:
    some(2, 30)
    first = import_obcms()
    before = list(AIOperation.objects.order_by("pk").values())
    again = import_obcms()
    assert (first.operations, again.operations, again.known_operations) == (30, 0, 30)
    assert again.cost_usd == 0 < first.cost_usd
    assert list(AIOperation.objects.order_by("pk").values()) == before
    put(obcms.operation())
    assert import_obcms().operations == 1


@pytest.mark.parametrize("table", ["aioperation", "conversation", "chatmessage"])
def test_a_run_that_was_killed_is_finished_by_the_next(table: str) -> None:
    rows = some(3, 1100)
    user = get_user_model().objects.create(username="amina")
    put(*(obcms.conversation("Q", "A", user_id=user.pk) for _ in range(250)))
    script = f"TABLE = 'django_obc_ai_{table}'\n{KILLED}"
    result = run_python(
        ["-c", script], cwd=ROOT, environment={"DJANGO_SETTINGS_MODULE": "tests.settings"}
    )
    assert result.returncode == -signal.SIGKILL, result.stdout
    there = AIOperation.objects.count()
    assert 0 < there <= 1100
    talks = Conversation.objects.count()
    assert ChatMessage.objects.count() == 2 * talks < 500
    report = import_obcms()
    assert (report.operations, report.known_operations) == (1100 - there, there)
    assert (report.conversations, report.known_conversations) == (250 - talks, talks)
    paid = sum(each.cost for each in rows if not each.cached)
    assert AIOperation.objects.total_cost() == paid
    assert ChatMessage.objects.count() == 500


def test_a_dry_run_says_the_same_and_writes_nothing() -> None:
    some(4, 20)
    user = get_user_model().objects.create(username="amina")
    put(obcms.conversation("Q", "A", user_id=user.pk))
    report = import_obcms(is_dry_run=True)
    assert not AIOperation.objects.exists() and not Conversation.objects.exists()
    assert import_obcms() == report


def test_nobody_is_told_of_calls_that_were_long_ago() -> None:
    heard: list[Any] = []

    def hear(**facts: Any) -> None:
        heard.append(facts)

    operation_finished.connect(hear)
    try:
        imported()
    finally:
        operation_finished.disconnect(hear)
    assert heard == []


BUDGETS = [
    {"scope": scope, "period": period, limit: 1, **key}
    for period in ("total", "day")
    for limit in ("limit_usd", "limit_tokens", "limit_requests")
    for scope, key in [("global", {}), *((each, {}) for each in SCOPES[1:])]
]


def spend_today() -> None:
    """A day on which the original spent more than any budget here allows."""
    user = get_user_model().objects.create(username="amina")
    put(*(obcms.operation(cost=5, user_id=user.pk, created_at=timezone.now()) for _ in range(3)))
    assert import_obcms().cost_usd == 15


def ask() -> Any:
    return TextService().generate_text("Where is Marawi?", use_cache=False)


@pytest.mark.parametrize("is_purged", [False, True], ids=["kept", "purged"])
def test_no_budget_counts_what_the_original_spent(is_purged: bool, settings: Any) -> None:
    settings.OBC_AI = {"BUDGETS": BUDGETS}
    spend_today()
    if is_purged:
        assert purge() == 3
    assert set(recovery.spent_by_key().values()) == {0}
    assert Ledger().total_cost() == 15


def purge() -> int:
    """As if all had been imported long ago, and added up since."""
    old = timezone.now() - datetime.timedelta(days=2)
    AIOperation.objects.update(recorded_at=old)
    AIOperation.objects.filter(created_at__gt=old).update(created_at=old)
    OperationRollup.objects.all().delete()
    RollupMark.objects.all().delete()
    deleted = retention.purge_operations(datetime.timedelta(days=1)).deleted
    assert not AIOperation.objects.exists()
    return deleted


def test_what_is_spent_here_counts_beside_it_also_once_both_are_purged(settings: Any) -> None:
    settings.OBC_AI = {"BUDGETS": [{"scope": each, "period": "total", "limit_usd": 99}
                                   for each in SCOPES]}  # fmt: skip
    put(obcms.operation(cost=5, model_used="m", module="mana", operation_type="chat"))
    import_obcms()
    own = {"model_requested": "m", "model_used": "m", "module": "mana", "operation_type": "chat"}
    for provider in ("default", "obcms"):  # a provider may well have this name
        AIOperation.objects.create(
            provider=provider, success=True, cost_usd=1, created_at=BEGAN, recorded_at=BEGAN, **own
        )
    before = recovery.spent_by_key()
    assert set(before.values()) == {2 * 10**9}
    assert purge() == 3
    assert recovery.spent_by_key() == before
    assert CostTracker().get_daily_cost(DAY) == 7


def test_a_call_of_today_is_admitted_after_the_books_were_repaired() -> None:
    limits = [{"scope": "global", "period": "total", "limit_usd": 1, "enforce": True}]
    with override_ai(["Yes."] * 2, BUDGETS=limits, PRICES=PRICES):
        spend_today()
        today = timezone.localdate()
        found = reconcile(today - datetime.timedelta(days=1), today, repair=True)
        assert not any(each.drift for each in found.store)
        assert recovery.rebuild()
        assert ask().success
        # The same money, spent by this package, is what the budget is there for.
        AIOperation.objects.filter(provider="obcms").update(attempts=1)
        assert recovery.rebuild()
        assert ask().error == "budget_exceeded"


def test_a_call_of_today_is_admitted_by_a_redis_that_is_new(redis_server: RedisServer) -> None:
    limits = [{"scope": "global", "period": "month", "limit_usd": 1, "enforce": True}]
    store = {
        "BACKEND": "django_obc_ai.backends.cost_stores.redis.RedisCostStore",
        "OPTIONS": {"url": redis_server.url},
    }
    with override_ai(["Yes."], BUDGETS=limits, PRICES=PRICES, COST_STORES={"default": store}):
        spend_today()
        assert ask().success


def test_what_was_imported_and_purged_does_not_come_again() -> None:
    rows = some(5, 40)
    import_obcms()
    assert purge() == 40
    report = import_obcms()
    assert (report.operations, report.known_operations) == (0, 0)
    assert report.notes == {
        "operations left behind: they were imported before, and purged since": 40
    }
    paid = sum(each.cost for each in rows if not each.cached)
    assert sum(CostTracker().get_daily_cost(DAY + n * retention._LEAST_AGE) for n in range(4)) == (
        paid
    )


def test_it_refuses_to_run_inside_a_transaction() -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="call it outside"):
        import_obcms()


def test_a_row_that_the_database_refuses_keeps_no_other_out() -> None:
    rows = [obcms.operation(id=uuid.UUID(int=n)) for n in range(3)]
    put(*rows)
    obcms.Operation._default_manager.filter(pk=rows[1].pk).update(response_time=1e300)
    report = import_obcms()
    assert report.operations == 2
    assert [note for note in report.notes if "refused" in note]
