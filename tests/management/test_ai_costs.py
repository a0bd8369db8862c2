"""ai_costs: the right days, every grouping, and no formula for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_obc_ai.querysets import BREAKDOWN_FIELDS
from tests.services.test_costs import _now_is, spend

pytestmark = pytest.mark.django_db
EVIL = '=HYPERLINK("http://example.org","x")'


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("ai_costs", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def _rows(monkeypatch: pytest.MonkeyPatch) -> None:
    _now_is(monkeypatch, "2026-07-15T10:00")
    spend(Decimal("0.000000001"), "2026-07-15T02:00", module="mana", input_tokens=7)
    spend(2, "2026-07-15T03:00", module="policies", scope="office")
    spend(4, "2026-07-01T03:00", module="mana")
    spend(8, "2026-06-30T03:00", module="mana")


def test_today_by_module_is_what_one_gets_without_options() -> None:
    assert run().splitlines() == [
        "2026-07-15 to 2026-07-15",
        "module            cost  operations  failures  cached  coalesced  tokens",
        "policies  $2.000000000           1         0       0          0       0",
        "mana      $0.000000001           1         0       0          0       7",
        "total     $2.000000001           2         0       0          0       7",
    ]


@pytest.mark.parametrize(
    ("arguments", "cost"),
    [
        (["--day", "2026-07-01"], "4.000000000"),
        (["--month", "2026-07"], "6.000000001"),
        (["--from", "2026-06-30", "--to", "2026-07-01"], "12.000000000"),
        (["--from", "2026-07-01"], "6.000000001"),
        (["--to", "2026-07-01"], "4.000000000"),
    ],
)
def test_days_are_those_asked_for(arguments: list[str], cost: str) -> None:
    assert run(*arguments).splitlines()[-1].split()[:2] == ["total", f"${cost}"]
    rows = json.loads(run(*arguments, "--format", "json"))["rows"]
    assert sum(Decimal(row["cost"]) for row in rows) == Decimal(cost)


@pytest.mark.parametrize("by", BREAKDOWN_FIELDS)
def test_every_grouping_adds_up(by: str) -> None:
    lines = list(
        csv.DictReader(io.StringIO(run("--month", "2026-07", "--by", by, "--format", "csv")))
    )
    assert sum(Decimal(line["cost"]) for line in lines) == Decimal("6.000000001")
    assert list(lines[0]) == [by, "cost", "operations", "failures", "cached", "coalesced", "tokens"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_the_csv_is_a_formula(start: str) -> None:
    spend(1, "2026-07-15T04:00", module=f"{start}{EVIL}")
    text = run("--format", "csv")
    cells = [cell for line in csv.reader(io.StringIO(text, newline="")) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert f"'{start}{EVIL}" in cells


def test_forecast_and_suggestions_are_added_on_request() -> None:
    text = run("--forecast", "--suggestions")
    assert "all: $6.000000001 so far, about $" in text
    assert "office: $2.000000000 so far, about $2.00 expected" in text
    body: dict[str, Any] = json.loads(run("--format", "json", "--forecast", "--suggestions"))
    assert [each["scope"] for each in body["forecast"]] == [None, "office"]
    assert body["suggestions"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--day", "2026-07-01", "--month", "2026-07"], "Give one of"),
        (["--month", "2026-07", "--from", "2026-07-01"], "Give one of"),
        (["--from", "2026-07-02", "--to", "2026-07-01"], "lies before the start"),
        (["--day", "yesterday"], "invalid fromisoformat value"),
        (["--by", "colour"], "invalid choice"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run(*arguments)
