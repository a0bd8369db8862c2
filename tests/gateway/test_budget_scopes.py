"""Budgets by scope, unit, row and time zone; what a refusal says; answers that are shortened."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.conf import BudgetSettings
from django_obc_ai.exceptions import BudgetExceededError
from django_obc_ai.gateway.policy import period
from django_obc_ai.models import Budget, BudgetChange
from django_obc_ai.testing import Reply
from django_obc_ai.types import GenerationRequest, Usage
from tests.gateway.conftest import Scripted
from tests.gateway.test_budget import ask

pytestmark = pytest.mark.django_db


def entry(**changes: Any) -> dict[str, Any]:
    return {"scope": "global", "period": "day", "limit_usd": "1", **changes}


@pytest.mark.parametrize(
    ("scope", "key", "matching", "other"),
    [
        ("module", "mana", {"module": "mana"}, {"module": "policies"}),
        ("operation_type", "chat", {"operation_type": "chat"}, {"operation_type": "search"}),
        ("tenant", "north", {"scope": "north"}, {"scope": "south"}),
    ],
)
def test_a_budget_of_one_key_binds_its_calls_alone(
    scripted: Scripted, scope: str, key: str, matching: dict[str, str], other: dict[str, str]
) -> None:
    scripted("A", "B", BUDGETS=[entry(scope=scope, key=key, limit_usd="0")])
    assert ask(**matching).error == "budget_exceeded"
    assert ask(**other).success


def test_a_budget_without_a_key_is_one_for_each(scripted: Scripted) -> None:
    answers = [Reply("A", usage=Usage(output_tokens=100)) for _ in range(3)]
    scripted(*answers, BUDGETS=[entry(scope="module", limit_usd="0.00045")])
    assert ask(module="mana").success
    assert ask(module="mana").error == "budget_exceeded"
    assert ask(module="policies").success


def test_a_budget_of_one_key_stands_beside_the_one_for_each(scripted: Scripted) -> None:
    each = entry(scope="tenant", limit_requests=1)
    more = entry(scope="tenant", key="north", limit_requests=3)
    for budget in (each, more):
        del budget["limit_usd"]
    scripted(*["A"] * 5, BUDGETS=[each, more])
    assert ask(scope="north").success
    assert ask(scope="north").error == "budget_exceeded"  # the lower of the two
    own = Budget.objects.create(scope="tenant", key="north", period="day", limit_requests=5)
    assert ask(scope="north").error == "budget_exceeded"  # a row of that key is not more, either
    own.delete()
    # Another period has a total of its own, and both bind.
    scripted(*["A"] * 5, BUDGETS=[{**each, "period": "month"}, more])
    assert ask(scope="south").success
    assert ask(scope="south").error == "budget_exceeded"
    # What gives one of them more: the one for each is as high as the highest.
    scripted(*["A"] * 5, BUDGETS=[{**each, "limit_requests": 3}, {**more, "limit_requests": 2}])
    assert [ask(scope="west").error for _ in range(4)] == [None, None, None, "budget_exceeded"]


def test_users_and_groups_have_budgets(scripted: Scripted) -> None:
    staff, guest = (User.objects.create(username=name) for name in ("staff", "guest"))
    guest.groups.add(Group.objects.create(name="guests"))
    budgets = [
        entry(scope="group", key="guests", limit_usd="0"),
        entry(scope="user", key=str(staff.pk), limit_usd="0"),
    ]
    scripted("A", BUDGETS=budgets)
    assert "user=" in ask(user=staff).error_message
    assert "group=guests:day:" in ask(user=guest).error_message
    assert ask().success


def test_models_have_budgets(scripted: Scripted) -> None:
    scripted("A", BUDGETS=[entry(scope="model", key="scripted", limit_usd="0")])
    assert "model=scripted:day:" in ask().error_message


def test_tokens_and_requests_are_limited(scripted: Scripted) -> None:
    usage = Usage(input_tokens=10, output_tokens=20)
    one = {"scope": "global", "period": "day"}
    budgets = [{**one, "limit_tokens": 200}, {**one, "limit_requests": 2}]
    scripted(*[Reply("A", usage=usage)] * 3, BUDGETS=budgets)
    assert ask().success
    keys = [f"global:day:{_today()}:{unit}" for unit in ("tokens", "requests")]
    totals = cost_stores["default"].totals(keys)
    assert [totals[key].spent_nano for key in keys] == [30, 1]
    assert ask(max_output_tokens=200).error == "budget_exceeded"
    assert ask().success
    assert ":requests of 2 requests has 2 requests spent" in ask().error_message


def _today() -> str:
    from zoneinfo import ZoneInfo

    return datetime.datetime.now(ZoneInfo("Asia/Manila")).strftime("%Y-%m-%d")


def test_a_refusal_names_scope_limit_spent_held_and_reset(scripted: Scripted) -> None:
    scripted("A", BUDGETS=[entry(scope="module", limit_usd="0.0001")])
    result = ask(module="mana")
    with pytest.raises(BudgetExceededError) as raised:
        result.raise_for_error()
    error = raised.value
    assert error.key == f"module=mana:day:{_today()}"
    assert (error.unit, error.limit, error.spent, error.held) == ("usd", 100_000, 0, 0)
    assert error.resets_at is not None and error.resets_at > datetime.datetime.now(datetime.UTC)
    for part in ("module=mana:day:", "$0.0001", "$0.00 spent", "$0.00 held", "resets at"):
        assert part in str(error)


def test_a_row_stands_in_place_of_the_settings_at_once(scripted: Scripted) -> None:
    scripted("A", "B", "C", BUDGETS=[entry(limit_usd="0")])
    assert ask().error == "budget_exceeded"
    row = Budget.objects.create(scope="global", period="day", limit_usd=Decimal(1))
    assert ask().success
    Budget.objects.filter(pk=row.pk).update(limit_usd=Decimal(0))  # no save(): in force, too
    assert ask().error == "budget_exceeded"
    row.delete()
    Budget.objects.create(scope="global", period="month", limit_usd=Decimal(1))
    assert ask().error == "budget_exceeded"  # another period: the entry is in force again


def test_lowering_a_limit_below_what_is_spent_only_stops_new_holds(scripted: Scripted) -> None:
    answers = [Reply("A", usage=Usage(input_tokens=1, output_tokens=100)) for _ in range(2)]
    scripted(*answers)
    row = Budget.objects.create(scope="global", period="day", limit_usd=Decimal("0.001"))
    assert ask().success
    row.limit_usd = Decimal("0.0001")
    row.save()
    assert "$0.000401 spent" in ask().error_message
    row.limit_usd = Decimal("0.001")
    row.save()
    assert ask().success


def test_changes_of_rows_are_kept_with_their_author() -> None:
    user = User.objects.create(username="chief")
    row = Budget(scope="module", key="mana", period="day", limit_usd=Decimal("1.50"))
    row.changed_by = user
    row.save()
    row.limit_usd = Decimal(2)
    row.save()
    row.save()  # nothing changed
    row.delete()
    changes = list(BudgetChange.objects.order_by("changed_at", "pk"))
    limits = [
        ((each.before or {}).get("limit_usd"), (each.after or {}).get("limit_usd"))
        for each in changes
    ]
    assert [(b and Decimal(b), a and Decimal(a)) for b, a in limits] == [
        (None, Decimal("1.50")),
        (Decimal("1.50"), Decimal(2)),
        (Decimal(2), None),
    ]
    assert {each.changed_by for each in changes} == {str(user.pk)}


def test_an_answer_is_shortened_to_fit_where_the_project_allows_it(scripted: Scripted) -> None:
    asked: list[int | None] = []

    def answer(request: GenerationRequest) -> Reply:
        asked.append(request.max_output_tokens)
        return Reply("A", usage=Usage(output_tokens=1))

    # 33 prompt tokens at 1,000 nano; so 50 tokens at 4,000 fit into 233,000.
    budgets = [entry(limit_usd="0.000233")]
    scripted(answer, BUDGETS=budgets, MONEY={"min_output_tokens": 50})
    assert ask(max_output_tokens=500).success
    assert asked == [50]
    assert ask(max_output_tokens=500).error == "budget_exceeded"


def test_no_answer_is_shortened_unasked(scripted: Scripted) -> None:
    kit = scripted("A", BUDGETS=[entry(limit_usd="0.000233")])
    assert ask(max_output_tokens=500).error == "budget_exceeded"
    assert kit.provider.call_count == 0


@pytest.mark.parametrize(
    ("zone", "name", "at", "start", "hours"),
    [
        ("Asia/Manila", "day", "2026-03-08T16:00", "2026-03-08T16:00", 24),
        ("Asia/Manila", "day", "2026-03-08T15:59", "2026-03-07T16:00", 24),
        ("America/New_York", "day", "2026-03-08T12:00", "2026-03-08T05:00", 23),
        ("America/New_York", "day", "2026-03-09T03:59", "2026-03-08T05:00", 23),
        ("America/New_York", "day", "2026-03-09T04:00", "2026-03-09T04:00", 24),
        ("America/New_York", "day", "2026-11-01T12:00", "2026-11-01T04:00", 25),
        ("America/New_York", "week", "2026-11-01T12:00", "2026-10-26T04:00", 7 * 24 + 1),
        ("America/New_York", "month", "2026-03-15T00:00", "2026-03-01T05:00", 31 * 24 - 1),
        ("America/New_York", "hour", "2026-11-01T05:30", "2026-11-01T05:00", 1),
        ("America/New_York", "hour", "2026-11-01T06:30", "2026-11-01T06:00", 1),
    ],
)
def test_periods_reset_at_local_midnight_over_a_change_of_clocks(
    zone: str, name: str, at: str, start: str, hours: int
) -> None:
    budget = BudgetSettings(scope="global", period=name, limit=Decimal(1), time_zone=zone)
    moments = [datetime.datetime.fromisoformat(f"{each}+00:00") for each in (at, start)]
    _, begins, ends = period(budget, moments[0])
    assert begins == moments[1]
    assert ends is not None and ends - begins == datetime.timedelta(hours=hours)
