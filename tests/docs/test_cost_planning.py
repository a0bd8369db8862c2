"""The page on planning costs: every figure is computed from the price table, and its code runs."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from django_obc_ai.gateway.price_table import CHECKED_ON, PRICE_TABLE
from django_obc_ai.services.cost_plans import plan_costs
from django_obc_ai.types import Usage
from tests.docs import cost_tables as tables
from tests.docs.execute import Page
from tests.docs.markdown import DOCS, headings, prose, section, table_rows

PAGE = DOCS / "explanation" / "cost-planning.md"


@pytest.mark.parametrize("heading", list(tables.TABLES))
def test_every_figure_is_that_of_the_price_table(heading: str) -> None:
    rows = list(tables.TABLES[heading]())
    assert rows and table_rows(section(PAGE, heading)) == rows


def test_no_table_and_no_amount_stands_without_its_computation() -> None:
    assert {*headings(PAGE, 2)} >= {*tables.TABLES, "Shapes of a request"}
    rows = table_rows(section(PAGE, "Shapes of a request"))
    assert [[name, *map(int, (each.replace(",", "") for each in more))] for name, *more in rows] \
        == [[name, *counts] for name, counts in tables.SHAPES.items()]  # fmt: skip
    # The figures of the text, which no table holds.
    low, high = tables.PROMISE
    known = {low, high, low / tables.REQUESTS, high / tables.REQUESTS, tables.REDIS, Decimal(5),
             Decimal(5 * 30)}  # fmt: skip
    text = "\n".join(line for line in prose(PAGE).splitlines() if not line.startswith("|"))
    amounts = re.findall(r"\$(\d[\d,]*(?:\.\d+)?)", text)
    assert len(amounts) > 5
    for amount in amounts:
        assert Decimal(amount.replace(",", "")) in known, amount
    for number in (tables.PIECES, tables.PIECE_TOKENS, tables.SEARCHES, tables.SEARCH_TOKENS):
        assert f"{number:,}" in section(PAGE, "Embeddings")


def test_what_the_text_says_of_the_tables_holds() -> None:
    rows = [row for _, row in tables.rows_in_force()]
    costs = [tables.month(row, tables.USUAL) for row in rows]
    assert max(costs) / min(costs) > 40
    assert tables.TODAY >= CHECKED_ON and f"{tables.TODAY.day} December 2026" in PAGE.read_text()
    small = [row for row in rows if "lite" in row.model]
    assert small and all(tables.month(row, tables.USUAL) <= 100 for row in small)
    long = [row for row in rows if tables.month(row, "Analysis of a long text") <= 100]
    assert [row.model for row in long] == [small[0].model]


@pytest.mark.parametrize("shape", list(tables.SHAPES))
def test_the_product_plans_the_same(shape: str) -> None:
    given, written, thought = tables.SHAPES[shape]
    usage = Usage(input_tokens=given, output_tokens=written, thinking_tokens=thought)
    for rate in tables.RATES:
        planned = plan_costs(
            requests=tables.REQUESTS, hit_rate=Fraction(rate, 100), usage=usage, today=tables.TODAY
        )
        found = {(each.model, each.since): each.month_usd for each in planned}
        wanted = {
            (row.model, _later(row.effective_from)): tables.month(row, shape, rate=rate)
            for _, row in tables.rows_in_force()
        }
        assert found.keys() == wanted.keys() and len(found) < len(PRICE_TABLE)
        for key, cost in wanted.items():
            assert abs(found[key] - cost) <= Decimal("0.01"), key


def _later(day: datetime.date | None) -> datetime.date | None:
    return day if day is not None and day > tables.TODAY else None


def test_its_code_runs(project: Path) -> None:
    page = Page(PAGE, project, settings="mysite.settings")
    assert page.follow() == 2
