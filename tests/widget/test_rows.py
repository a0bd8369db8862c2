"""Rows as people read them, and drawings of them."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone, translation

from django_obc_ai.types.chat import QueryAggregate, QueryPlan, QueryResult
from django_obc_ai.widget.cells import is_number, show_value
from django_obc_ai.widget.charts import MOST_POINTS, draw_chart
from django_obc_ai.widget.history import show_table

NOTHING = "\u2013"
COUNT = QueryAggregate(function="count", alias="count")


def result(*rows: Any, group_by: tuple[str, ...] = ("group",), **more: Any) -> QueryResult:
    return QueryResult(
        plan=QueryPlan(model="testapp.Place", group_by=group_by, aggregates=(COUNT,)),
        columns=(*group_by, "count"),
        labels=(*(each.capitalize() for each in group_by), "Count"),
        rows=rows,
        **more,
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NOTHING), ("", NOTHING), (True, "Yes"), (False, "No"), ("Jolo", "Jolo"),
        (2024, "2024"), (1234567, "1234567"), (0.1 + 0.2, "0.3000"), (1234.5678, "1234.57"),
        (3.0, "3"), (Decimal("12.50"), "12.50"), (Decimal("3.3333333333"), "3.33"),
        (float("nan"), "nan"), (datetime.date(2026, 3, 4), "March 4, 2026"),
        (datetime.time(9, 30), "9:30 a.m."), ({"a": "ñ"}, '{"a": "ñ"}'), ([1, 2], "[1, 2]"),
    ],
)  # fmt: skip
def test_values_are_told_as_people_read_them(value: Any, text: str) -> None:
    assert show_value(value) == text


def test_thousands_of_figures_are_set_apart_in_the_readers_way() -> None:
    assert show_value(1234567, is_figure=True) == "1,234,567"
    assert show_value(Decimal("1234.5"), is_figure=True) == "1,234.50"
    with translation.override("de"):
        assert show_value(1234567, is_figure=True) == "1.234.567"


def test_times_are_those_of_the_reader() -> None:
    at = datetime.datetime(2026, 3, 4, 23, 30, tzinfo=datetime.UTC)
    with timezone.override("Asia/Manila"):
        assert show_value(at) == "03/05/2026 7:30 a.m."
    assert show_value(at.replace(tzinfo=None)) == "03/04/2026 11:30 p.m."


@pytest.mark.parametrize("value", [True, "3", None, float("inf"), float("nan"), 10**400])
def test_what_cannot_be_drawn_is_no_number(value: Any) -> None:
    assert not is_number(value)


def test_a_table_says_which_columns_hold_numbers() -> None:
    table = show_table(result(("Lanao", 2), (None, 12345), total=9, is_cut=True))
    assert table is not None
    assert table.rows == (("Lanao", "2"), (NOTHING, "12,345"))
    assert table.heads == (("Group", False), ("Count", True))
    assert table.lines[1] == ((NOTHING, False), ("12,345", True))
    assert (table.total, table.is_cut) == (9, True)
    assert show_table(None) is show_table(result()) is None


def test_a_breakdown_is_drawn_as_bars_from_nought() -> None:
    chart = draw_chart(result(("Lanao", 4), ("Sulu", 2), (None, 0)))
    assert chart is not None
    assert (chart.kind, chart.label, chart.value_label, chart.zero) == ("bar", "Group", "Count", 0)
    assert [(each.label, each.text, each.x, each.width) for each in chart.points] == [
        ("Lanao", "4", 0, 100), ("Sulu", "2", 0, 50), (NOTHING, "0", 0, 0),
    ]  # fmt: skip
    for one, next_one in zip(chart.points, chart.points[1:], strict=False):
        assert one.y + one.height < next_one.y
    assert chart.points[-1].y + chart.points[-1].height < 100


def test_bars_of_values_below_nought_go_to_the_other_side() -> None:
    chart = draw_chart(result(("a", 30), ("b", Decimal(-10))))
    assert chart is not None and chart.zero == 25
    assert [(each.x, each.width) for each in chart.points] == [(25, 75), (0, 25)]


@pytest.mark.parametrize(
    "keys",
    [
        [datetime.date(2026, 1, 1), datetime.date(2026, 2, 1), datetime.date(2026, 3, 1)],
        [2024, 2025, 2026],
        [2026, 2025, 2024],
    ],
)
def test_values_in_order_of_time_or_size_make_a_line(keys: list[Any]) -> None:
    values = [1, 2, 4] if keys[0] < keys[-1] else [4, 2, 1]
    chart = draw_chart(result(*zip(keys, values, strict=True)))
    assert chart is not None and chart.kind == "line" and chart.zero == 100
    assert chart.path == "0,75 50,50 100,0"


def test_a_ranking_of_years_is_no_series() -> None:
    chart = draw_chart(result((2025, 9), (2024, 7), (2026, 5)))
    assert chart is not None and chart.kind == "bar"


@pytest.mark.parametrize(
    "rows",
    [
        None,
        result(("a", 1)),
        result(*((str(n), n) for n in range(MOST_POINTS + 1))),
        result(("a", 1), ("b", None)),
        result(("a", "x"), ("b", "y")),
        result(("a", "b", 1), ("c", "d", 2), group_by=("one", "two")),
        result((1,), (2,), group_by=()),
    ],
)
def test_what_is_neither_is_not_drawn(rows: QueryResult | None) -> None:
    assert draw_chart(rows) is None


def test_all_noughts_are_drawn() -> None:
    chart = draw_chart(result(("a", 0), ("b", 0)))
    assert chart is not None and {each.width for each in chart.points} == {0}
