"""Pricing again: exact, once, traced, and only where counts can tell."""

from __future__ import annotations

import datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from django_obc_ai.models import AIOperation, CostCorrection
from django_obc_ai.services.repricing import reprice
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types import Usage

pytestmark = pytest.mark.django_db
SINCE = datetime.date(2026, 7, 1)
OLD = {"input_usd": "1", "output_usd": "4", "cached_input_usd": "0.25", "audio_input_usd": "2"}
NEW = {**OLD, "output_usd": "5", "thinking_usd": "6", "audio_input_usd": "3"}
PAID = {"default": {"BACKEND": "django_obc_ai.testing.ScriptedProvider", "OPTIONS": {"script": []}}}


def priced(*rows: dict[str, Any]) -> override_settings:
    return override_settings(OBC_AI={"PRICES": {"m": list(rows)}, "PROVIDERS": PAID})


def call(day: str = "2026-07-02", **values: Any) -> AIOperation:
    stated = {"input_tokens": 1_000, "output_tokens": 100, "cost_usd": Decimal("0.0014")}
    return AIOperation.objects.create(
        **{
            "provider": "default",
            "success": True,
            "model_used": "m",
            "created_at": datetime.datetime.fromisoformat(f"{day}T04:00+00:00"),
            **stated,
            **values,
        }
    )


def test_every_bucket_counts_and_the_change_is_traced() -> None:
    row = call(
        input_tokens=1_000, cached_tokens=200, audio_tokens=300, tool_tokens=50,
        output_tokens=100, thinking_tokens=10, cost_usd=Decimal("0.00164"),
    )  # fmt: skip
    with priced(NEW):
        report = reprice(SINCE, made_by="amina")
    # 550 fresh x 1 + 200 cached x 0.25 + 300 audio x 3 + 100 out x 5 + 10 thinking x 6
    new = Decimal("0.00206")
    row.refresh_from_db()
    assert row.cost_usd == new
    trace = CostCorrection.objects.get()
    assert (trace.operation, trace.kind, trace.made_by, trace.run) == (
        row,
        "repriced",
        "amina",
        report.run,
    )
    assert (trace.old_cost_usd, trace.new_cost_usd) == (Decimal("0.00164"), new)
    assert "m: $1 in, $5 out" in trace.reason
    assert (report.old_usd, report.new_usd) == (Decimal("0.00164"), new)


def test_a_second_run_changes_nothing() -> None:
    call()
    with priced(NEW):
        assert reprice(SINCE, made_by="a").changed == 1
        assert reprice(SINCE, made_by="a").changed == 0
    assert CostCorrection.objects.count() == 1


def test_a_dry_run_only_says_so() -> None:
    row = call()
    with priced(NEW):
        report = reprice(SINCE, made_by="a", is_dry_run=True)
    row.refresh_from_db()
    assert (report.changed, report.new_usd, row.cost_usd) == (
        1,
        Decimal("0.0015"),
        Decimal("0.0014"),
    )
    assert not CostCorrection.objects.exists()


def test_each_day_has_its_own_price() -> None:
    rows = [call("2026-07-02"), call("2026-07-03"), call("2026-06-30")]
    with priced(OLD, {**NEW, "effective_from": "2026-07-03"}):
        assert reprice(SINCE, made_by="a").changed == 1
    for row in rows:
        row.refresh_from_db()
    costs = [row.cost_usd for row in rows]
    assert costs == [Decimal("0.0014"), Decimal("0.0015"), Decimal("0.0014")]


def test_an_operation_without_a_price_gets_its_cost_when_there_is_one() -> None:
    row = call(cost_usd=0, cost_known=False)
    with priced(NEW):
        assert reprice(SINCE, made_by="a").changed == 1
    row.refresh_from_db()
    assert (row.cost_usd, row.cost_known) == (Decimal("0.0015"), True)
    assert CostCorrection.objects.get().was_cost_known is False


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tokens_exact": False}, "counts that are not the provider's own"),
        ({"model_used": "other"}, "no price"),
        ({"input_tokens": 0, "output_tokens": 0}, "no tokens"),
        ({"attempts": 2, "input_tokens": 300_000}, "several attempts, perhaps long ones"),
    ],
)
def test_what_counts_cannot_tell_is_left_alone(values: dict[str, Any], reason: str) -> None:
    row = call(**values)
    long = {"long_prompt_tokens": 200_000, "long_input_usd": "2", "long_output_usd": "8"}
    with priced({**NEW, **long}):
        report = reprice(SINCE, made_by="a")
    assert (report.changed, report.skipped) == (0, {reason: 1})
    row.refresh_from_db()
    assert row.cost_usd == Decimal("0.0014")


def test_cached_free_and_billed_operations_are_not_touched() -> None:
    call(cached=True, cost_usd=0)
    call(attempts=0, cost_usd=0)
    billed = call()
    CostCorrection.objects.create(
        operation=billed, kind="billed", old_cost_usd=0, new_cost_usd=billed.cost_usd,
        was_cost_known=False, run=billed.pk,
    )  # fmt: skip
    with priced(NEW):
        assert reprice(SINCE, made_by="a").seen == 0
    call()
    with override_settings(OBC_AI={"PRICES": {"m": NEW}}):  # the provider is the offline one
        assert reprice(SINCE, made_by="a").seen == 0


def test_what_the_gateway_booked_is_what_pricing_again_finds() -> None:
    usage = Usage(
        input_tokens=900, cached_tokens=100, audio_tokens=200, output_tokens=70,
        thinking_tokens=30, tool_tokens=5,
    )  # fmt: skip
    with override_ai([Reply("A", usage=usage)] * 3, PRICES={"scripted": NEW}):
        from django_obc_ai.services.text import TextService

        for number in range(3):
            assert TextService().generate_text(f"Q{number}").success
        report = reprice(datetime.date(2020, 1, 1), made_by="a")
    assert (report.seen, report.changed, report.skipped) == (3, 0, {})
    assert AIOperation.objects.get(pk=AIOperation.objects.first().pk).audio_tokens == 200


def test_attempts_that_were_rounded_one_by_one_are_no_correction() -> None:
    one = Decimal("0.000000001")
    call(attempts=3, cost_usd=Decimal("0.0014") + 2 * one)
    call(attempts=1, cost_usd=Decimal("0.0014") + one)
    with priced(OLD):
        assert reprice(SINCE, made_by="a").changed == 1


def test_the_command_reports_totals() -> None:
    call()
    call(tokens_exact=False)
    out = StringIO()
    with priced(NEW):
        call_command("reprice_operations", since=SINCE, dry_run=True, stdout=out)
        call_command("reprice_operations", "--since", "2026-07-01", "--by", "badal", stdout=out)
    text = out.getvalue()
    assert "2 operations seen, 1 would change: $0.001400000 -> $0.001500000" in text
    assert "2 operations seen, 1 changed" in text
    assert "m: $0.001400000 -> $0.001500000 (+0.000100000)" in text
    assert "1 left alone: counts that are not the provider's own" in text
    assert CostCorrection.objects.get().made_by == "badal"
