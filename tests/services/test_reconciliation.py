"""Reconciling: drift is found where it is, unknown costs take the bill's figure, once."""

from __future__ import annotations

import datetime
import io
import random
import zoneinfo
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.models import AIOperation, CostCorrection
from django_obc_ai.services.reconciliation import BilledRow, ExportError, read_export, reconcile
from django_obc_ai.services.repricing import reprice
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals

pytestmark = pytest.mark.django_db
DAY = datetime.date(2026, 7, 1)
NANO = Decimal("0.000000001")


def settings(*periods: str) -> override_settings:
    budgets = [{"scope": "global", "period": each, "limit_usd": "100"} for each in periods]
    return override_settings(
        OBC_AI={
            "BUDGETS": budgets,
            "LOG": {"spool": None},
        }
    )


def call(cost: Any, model: str = "flash", at: str = "2026-07-01T04:00", **values: Any) -> Any:
    return AIOperation.objects.create(
        provider="default",
        success=True,
        model_used=model,
        cost_usd=Decimal(cost),
        created_at=datetime.datetime.fromisoformat(f"{at}+00:00"),
        **values,
    )


def billed(cost: Any, model: str = "flash", day: datetime.date = DAY) -> BilledRow:
    return BilledRow(day=day, model=model, cost_usd=Decimal(cost))


def costs() -> list[Decimal]:
    return list(AIOperation.objects.order_by("created_at", "pk").values_list("cost_usd", flat=True))


def test_a_planted_drift_of_3_percent_is_put_down_to_the_right_model_and_day() -> None:
    chance = random.Random(7)
    bill: dict[tuple[datetime.date, str], Decimal] = {}
    for day in range(1, 11):
        for model in ("flash", "pro", "flash-lite"):
            for _ in range(20):
                cost = NANO * chance.randrange(10**5, 10**7)
                call(cost, model, f"2026-07-{day:02}T{chance.randrange(0, 15):02}:00")
                key = (datetime.date(2026, 7, day), model)
                bill[key] = bill.get(key, Decimal(0)) + cost
    planted = {key: cost for key, cost in bill.items() if key[1] == "pro" and key[0].day >= 4}
    export = [
        billed(cost * Decimal("1.03") if key in planted else cost, key[1], key[0])
        for key, cost in bill.items()
    ]
    found = reconcile(DAY, datetime.date(2026, 7, 10), bill=export)
    drifting = {(row.day, row.model): row.drift_usd for row in found.rows if row.drift_usd}
    assert drifting == {key: cost * Decimal("0.03") for key, cost in planted.items()}
    ledger, bill_of_pro = found.by_model["pro"]
    assert bill_of_pro - ledger == sum(planted.values()) * Decimal("0.03")
    assert not found.is_balanced()


def test_books_that_agree_are_balanced_to_the_nano_dollar() -> None:
    call("0.1")
    call("0.2", "models/flash")
    assert reconcile(DAY, DAY, bill=[billed("0.1"), billed("0.2")]).is_balanced()
    assert not reconcile(DAY, DAY, bill=[billed(Decimal("0.3") + NANO)]).is_balanced()
    assert reconcile(DAY, DAY, bill=[billed(Decimal("0.3") + NANO)]).is_balanced(NANO)


def test_what_only_one_side_knows_is_drift() -> None:
    call("1", "pro")
    found = reconcile(DAY, DAY, bill=[billed("2", "lite")])
    assert [(row.model, row.drift_usd) for row in found.rows] == [("lite", 2), ("pro", -1)]


def test_unknown_costs_share_what_the_bill_leaves_once_and_with_a_trace() -> None:
    call("1")
    call("0.3", cost_known=False, at="2026-07-01T05:00")
    call("0.6", cost_known=False, at="2026-07-01T06:00")
    bill = [billed("1.1")]
    with settings():
        assert reconcile(DAY, DAY, bill=bill).corrected == 0
        assert costs() == [1, Decimal("0.3"), Decimal("0.6")]  # only compared
        found = reconcile(DAY, DAY, bill=bill, repair=True, made_by="amina")
        assert (found.corrected, found.is_balanced()) == (2, True)
        again = reconcile(DAY, DAY, bill=[billed("1.2")], repair=True, made_by="amina")
    assert sum(costs()) == Decimal("1.1")
    assert costs() == [1, Decimal("0.033333333"), Decimal("0.066666667")]
    assert not AIOperation.objects.filter(cost_known=False).exists()
    assert (again.corrected, again.is_balanced()) == (0, False)  # known by now: only drift
    trace = CostCorrection.objects.order_by("old_cost_usd").first()
    assert trace is not None
    assert (trace.kind, trace.made_by, trace.was_cost_known) == ("billed", "amina", False)
    assert (trace.old_cost_usd, trace.new_cost_usd) == (Decimal("0.3"), Decimal("0.033333333"))
    assert "Bill of 2026-07-01, flash: $1.1, of which $1" in trace.reason
    with settings():
        assert reprice(DAY, made_by="a").changed == 0  # the bill has the last word


@pytest.mark.parametrize(
    ("bill", "shares", "left"),
    [
        ("1.5", ["0.2", "0.3"], "0"),  # in full
        ("2.0", ["0.2", "0.3"], "0.5"),  # never above a ceiling: the rest stays as drift
        ("1.0", ["0", "0"], "0"),
        ("0.4", ["0", "0"], "-0.6"),  # known costs are never changed to fit a bill
    ],
)
def test_shares_stay_between_0_and_their_ceilings(bill: str, shares: list[str], left: str) -> None:
    call("1")
    call("0.2", cost_known=False, at="2026-07-01T05:00")
    call("0.3", cost_known=False, at="2026-07-01T06:00")
    with settings():
        found = reconcile(DAY, DAY, bill=[billed(bill)], repair=True)
    assert costs()[1:] == [Decimal(each) for each in shares]
    assert [row.drift_usd for row in found.rows] == [Decimal(left)]


def test_operations_without_a_price_share_the_rest_equally() -> None:
    call("0.2", cost_known=False)
    call("0", cost_known=False, at="2026-07-01T05:00")
    call("0", cost_known=False, at="2026-07-01T06:00")
    with settings():
        reconcile(DAY, DAY, bill=[billed("1.200000001")], repair=True)
    assert costs() == [Decimal("0.2"), Decimal("0.5"), Decimal("0.500000001")]


def test_random_shares_always_add_up_exactly() -> None:
    chance = random.Random(11)
    for day in range(1, 8):
        for _ in range(chance.randrange(1, 30)):
            call(NANO * chance.randrange(0, 10**6), at=f"2026-07-{day:02}T04:00", cost_known=False)
    before = {row.pk: row.cost_usd for row in AIOperation.objects.all()}
    bill = []
    for day, part in enumerate(["0", "0.1", "0.333", "0.5", "0.77", "0.99", "1"], start=1):
        date = datetime.date(2026, 7, day)
        spent = AIOperation.objects.between(date, date).total_cost()
        bill.append(billed(spent * Decimal(part) // NANO * NANO, day=date))
    with settings():
        found = reconcile(DAY, datetime.date(2026, 7, 7), bill=bill, repair=True)
    assert found.is_balanced()
    for row in AIOperation.objects.all():
        assert 0 <= row.cost_usd <= before[row.pk]


def test_the_days_of_a_bill_are_those_of_its_own_time_zone() -> None:
    call("1", at="2026-07-01T23:30")  # 2 July in Manila, 1 July in California
    pacific = zoneinfo.ZoneInfo("America/Los_Angeles")
    assert reconcile(DAY, DAY, bill=[billed("1")], zone=pacific).is_balanced()
    assert not reconcile(DAY, DAY, bill=[billed("1")]).is_balanced()


@pytest.fixture
def drifting_store() -> Iterator[Any]:
    call("1", at="2026-06-30T15:59:59")  # 30 June in Manila
    call("2", at="2026-06-30T16:00")
    call("4", at="2026-07-31T15:59")
    call("8", at="2026-07-31T16:00")  # August
    with settings("hour", "day", "week", "month", "total"):
        yield cost_stores["default"]


def test_the_store_is_compared_with_the_sum_of_each_budgets_period(drifting_store: Any) -> None:
    found = {each.key: each.ledger // 10**9 for each in reconcile(DAY, DAY).store}
    assert {key: cost for key, cost in found.items() if ":hour:" not in key} == {
        "global:day:2026-07-01": 2,
        "global:week:2026-W27": 3,
        "global:month:2026-07": 6,
        "global:total:always": 15,
    }
    hours = {key: cost for key, cost in found.items() if ":hour:" in key}
    assert len(hours) == 24
    assert {key: cost for key, cost in hours.items() if cost} == {"global:hour:2026-06-30T16Z": 2}


def test_repair_sets_the_totals_and_leaves_what_is_in_use(drifting_store: Any) -> None:
    call_id = AIOperation.objects.first().pk
    drifting_store.reserve(call_id, [BudgetHold(key="global:total:always")], Amount(nano=5))
    found = reconcile(DAY, DAY, repair=True)
    states = {each.key: each.is_repaired for each in found.store if each.drift}
    assert states.pop("global:total:always") is False
    assert set(states.values()) == {True}
    assert not found.is_balanced()
    drifting_store.settle(call_id, Amount(nano=5))
    assert reconcile(DAY, DAY, repair=True).is_balanced()
    assert reconcile(DAY, DAY).is_balanced()
    totals = drifting_store.totals(["global:month:2026-07", "global:total:always"])
    assert totals == {
        "global:month:2026-07": BudgetTotals(spent_nano=6 * 10**9),
        "global:total:always": BudgetTotals(spent_nano=15 * 10**9),
    }


@pytest.mark.parametrize(
    "text",
    [
        "date,model,cost\n2026-07-01,flash,1.50\n2026-07-01,pro,2\n",
        "\ufeffDay,Model ID,Amount (USD)\n2026-07-01,models/flash,$1.50\n2026-07-01,pro,2\n,,3.5\n",
        (
            "Usage start date,SKU description,Cost ($),Unrounded cost ($),Currency\n"
            "2026-07-01,Generate content input token count Flash text,1,0.70,USD\n"
            "2026-07-01,Generate content output token count flash,1,0.80,USD\n"
            "07/01/2026,Generate content PRO output,2,2,usd\n"
        ),
        (
            'start_time,line_item,amount_value\n2026-07-01T00:00:00Z,"flash, input","1.5"\n'
            "2026-07-01T08:00:00Z,pro,2\n"
        ),
    ],
)
def test_exports_of_several_makers_are_read(text: str) -> None:
    call("1.5", "flash")
    call("2", "pro")
    rows = read_export(io.StringIO(text.lstrip("\ufeff")), ["flash", "pro", "flash-lite"])
    assert reconcile(DAY, DAY, bill=rows).is_balanced()


def test_the_longest_model_that_a_line_names_counts() -> None:
    text = "date,sku,cost\n2026-07-01,gemini 2.5 Flash Lite input,1\n2026-07-01,Storage,2\n"
    rows = read_export(io.StringIO(text), ["gemini-2.5-flash", "gemini-2.5-flash-lite"])
    assert [row.model for row in rows] == ["gemini-2.5-flash-lite", "Storage"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,model\n", "no column for the cost; it may be called: cost_usd"),
        ("", "no column for the day"),
        ("date,model,cost\nyesterday,m,1\n", "Line 2 of the export has no day"),
        ("date,model,cost\n2026-07-01,m,x\n", "Line 2 of the export has no amount"),
        ("date,model,cost\n2026-07-01,m,NaN\n", "Line 2 of the export has no amount"),
        ("date,model,cost,currency\n2026-07-01,m,1,PHP\n", "Line 2 .* not in US dollars"),
    ],
)
def test_an_export_that_cannot_be_read_says_where(text: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        read_export(io.StringIO(text), [])


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("reconcile_costs", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue() + str(error)
    return 0, out.getvalue()


def test_the_command_finds_repairs_and_says_so_by_its_exit_code(tmp_path: Path) -> None:
    call("1")
    call("0.5", cost_known=False, at="2026-07-01T05:00")
    export = tmp_path / "bill.csv"
    export.write_text("date,model,cost\n2026-07-01,flash,1.20\n")
    days = ["--from", "2026-07-01", "--to", "2026-07-01"]
    with settings("day"):
        code, text = run(*days, "--export", str(export))
        assert code == 2
        assert "unknown  2026-07-01 flash: 1 operations, presumed $0.500000000" in text
        assert "drift -0.300000000 (-20.00 %)" in text
        assert "store    global:day:2026-07-01: ledger $1.50, store $0.00; differs" in text
        code, text = run(*days, "--export", str(export), "--repair", "--by", "badal")
        assert (code, "1 costs set by the bill" in text) == (0, True)
        assert "; repaired" in text
        assert run(*days, "--export", str(export))[0] == 0
    assert CostCorrection.objects.get().made_by == "badal"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "2026-07-02", "--to", "2026-07-01"], "lies before the start"),
        (["--export", "/no/such/file.csv"], "No such file"),
        (["--timezone", "Asia/Atlantis"], "no time zone 'Asia/Atlantis'"),
        (["--tolerance", "a cent"], ""),
    ],
)
def test_the_command_says_what_it_cannot_do(arguments: list[str], message: str) -> None:
    code, text = run(*arguments)
    assert code == 1
    assert message in text
