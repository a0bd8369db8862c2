"""What a month would cost: from the ledger's own figures, at the prices of the day."""

from __future__ import annotations

import datetime
import io
from decimal import Decimal
from fractions import Fraction

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.services.cost_plans import plan_costs, seen_traffic
from django_obc_ai.types import Usage
from tests.services.test_costs import _now_is, spend

DAY = datetime.date(2026, 12, 1)
SHAPE = Usage(input_tokens=1_000, output_tokens=200)


def run(*arguments: str) -> list[str]:
    out = io.StringIO()
    call_command("plan_costs", *arguments, stdout=out)
    return out.getvalue().splitlines()


def test_a_month_is_what_the_cache_does_not_answer_at_the_price_of_the_day() -> None:
    asked = {"requests": 50_000, "hit_rate": Fraction(2, 5), "usage": SHAPE}
    (one,) = plan_costs(**asked, models=["gemini-2.5-flash-lite"], today=DAY)
    assert one.request_usd == Decimal("0.00018")  # 1,000 x 0.10 + 200 x 0.40, of a million
    assert (one.month_usd, one.since) == (Decimal("5.40"), None)  # 30,000 of them


def test_a_price_that_begins_later_is_told_with_its_day() -> None:
    asked = {"requests": 1_000, "hit_rate": Fraction(0), "usage": SHAPE}
    now, later = plan_costs(**asked, models=["gemini-3.8-flash"], today=DAY)
    assert (now.since, now.month_usd) == (None, Decimal("1.50"))
    assert (later.since, later.month_usd) == (datetime.date(2027, 1, 1), Decimal("3.00"))
    new_year = datetime.date(2027, 1, 1)
    (only,) = plan_costs(**asked, models=["gemini-3.8-flash"], today=new_year)
    assert (only.since, only.month_usd) == (None, Decimal("3.00"))


def test_all_models_that_write_are_planned_and_the_cheapest_comes_first() -> None:
    found = plan_costs(requests=10**6, hit_rate=Fraction(0), usage=SHAPE, today=DAY)
    assert found[0].model == "gemini-2.5-flash-lite"
    assert not [each for each in found if "embedding" in each.model]
    assert [each.month_usd for each in found] == sorted(each.month_usd for each in found)


def test_own_prices_hold_before_those_that_ship() -> None:
    own = {"PRICES": {"mine": {"input_usd": "1", "output_usd": "2"}}}
    with override_settings(OBC_AI=own):
        found = plan_costs(requests=10**6, hit_rate=Fraction(0), usage=SHAPE, today=DAY)
        assert Decimal("1400.00") in [each.month_usd for each in found if each.model == "mine"]
    with pytest.raises(ConfigurationError, match="'mine' has no price"):
        plan_costs(requests=1, hit_rate=Fraction(0), usage=SHAPE, models=["mine"])


@pytest.mark.django_db
def test_the_ledger_says_how_much_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    _now_is(monkeypatch, "2026-12-01T10:00")
    spend(1, "2026-12-01T02:00", input_tokens=1_000, output_tokens=100, thinking_tokens=7)
    spend(1, "2026-11-25T02:00", input_tokens=2_001, output_tokens=300, cached_tokens=500)
    spend(0, "2026-12-01T03:00", cached=True, input_tokens=9_999)
    spend(0, "2026-12-01T03:00", coalesced=True, input_tokens=9_999)
    spend(1, "2026-12-01T03:00", operation_type="embedding", input_tokens=9_999)
    spend(1, "2026-11-24T02:00", input_tokens=9_999)  # the eighth day
    seen = seen_traffic(days=7)
    assert seen.requests == 13  # 3 in 7 days
    assert seen.hit_rate == Fraction(1, 3)
    assert seen.usage == Usage(
        input_tokens=1_501, cached_tokens=250, output_tokens=200, thinking_tokens=4
    )
    head, shape, line = run("--days", "7", "--model", "gemini-2.5-flash-lite", "--requests", "3000")
    assert head == "3,000 requests in 30 days, 33% from the cache"
    assert shape == "each answer: 1,501 tokens in (250 cached), 200 out, 4 of thinking"
    # 1,251 x 0.10 + 250 x 0.01 + 204 x 0.40, of a million, 2,000 times
    assert line == "gemini-2.5-flash-lite  $0.000209200 each  $0.42 a month"


@pytest.mark.django_db
def test_the_command_wants_figures_where_the_ledger_has_none() -> None:
    with pytest.raises(CommandError, match="give --tokens"):
        run()
    given = ("--requests", "50000", "--hit-rate", "0.8", "--tokens", "1000", "200")
    (_, _, line) = run(*given, "--model", "gemini-2.5-flash-lite")
    assert line.endswith("$1.80 a month")
    for wrong in (("--tokens", "1"), ("--hit-rate", "1.5"), ("--hit-rate", "x"), ("--days", "0"),
                  ("--requests", "-1"), ("--tokens", "1", "2", "--model", "none")):  # fmt: skip
        with pytest.raises(CommandError):
            run(*wrong)
