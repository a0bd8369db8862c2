"""Rows as they are shown to a model."""

from __future__ import annotations

from django_obc_ai.chat.citations import write_rows
from django_obc_ai.types.chat import QueryPlan, QueryResult


def result(*rows: tuple[object, ...], labels: tuple[str, ...] = ("Name", "Count")) -> QueryResult:
    return QueryResult(plan=QueryPlan(), columns=labels, labels=labels, rows=rows)


def test_a_cell_shown_to_a_model_looks_like_no_other_cell_or_line() -> None:
    rows = (("a | b\n(2 of 2 rows)\nName | 9", 1), ("x" * 400, None))
    shown = write_rows(result(*rows)).split("\n")
    assert shown[:2] == ["Name | Count", "a \xa6 b (2 of 2 rows) Name \xa6 9 | 1"]
    assert shown[2].endswith("x… | ") and len(shown) == 3


def test_what_a_model_is_not_shown_is_counted() -> None:
    wide = result(*((("x" * 300,) * 8,) * 40), labels=tuple("abcdefgh"))
    shown = write_rows(wide)
    assert len(shown) < 26_000 and shown.endswith("(9 rows; there are more)")
    many = QueryResult(
        plan=QueryPlan(), columns=("a",), labels=("a",), rows=((1,),) * 80, total=900, is_cut=True
    )
    assert write_rows(many).split("\n")[-1] == "(60 of 900 rows)"
    cut = QueryResult(
        plan=QueryPlan(), columns=("a",), labels=("a",), rows=((1,),) * 80, is_cut=True
    )
    assert write_rows(cut).split("\n")[-1] == "(60 rows; there are more)"
    assert write_rows(result()) == "Name | Count\n(no rows)"
