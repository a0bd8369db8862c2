"""Numbers of an answer come from its rows, or are flagged."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from django_obc_ai.chat.numbers import find_foreign_numbers
from django_obc_ai.types.chat import QueryFilter, QueryPlan, QueryResult


def result(*rows: tuple[Any, ...], total: int | None = None, **plan: Any) -> QueryResult:
    columns = tuple(f"c{n}" for n in range(len(rows[0]) if rows else 1))
    return QueryResult(
        plan=QueryPlan(**plan), columns=columns, labels=columns, rows=rows, total=total
    )


ROWS = result(
    ("Marawi City", 207_010, Decimal("12.75"), date(2024, 7, 1)),
    ("Lamitan", 100_150, Decimal("3.5"), None),
    ("Bongao in Region 9", 116_118, Decimal("8.1"), None),
    total=57,
    filters=(QueryFilter(path="population", lookup="gte", value=100_000),),
)


@pytest.mark.parametrize("text", [
    "Marawi City has 207,010 residents.",
    "There are 57 such places; 3 are shown.",
    "At least 100000 live in each.",
    "Together 423,278 people, on average 141,092.67.",
    "Marawi has 106,860 more than Lamitan.",
    "That is 48.9% of them, or 49 percent.",
    "About 207 thousand, 0.2 million.",
    "12.75, about 12.8, or 13.",
    "Since 1 July 2024, in Region 9.",
    "Rows are source [1], [2, 3].",
    "1. Marawi\n2) Lamitan\n 17. Bongao",
    "No number at all.",
    "Lamitan is 48.38 % of Marawi.",
])  # fmt: skip
def test_numbers_that_the_rows_explain_pass(text: str) -> None:
    assert find_foreign_numbers(text, [ROWS]) == []


@pytest.mark.parametrize(("text", "foreign"), [
    ("Marawi City has 207,011 residents.", ["207,011"]),
    ("There are 58 such places.", ["58"]),
    ("About 3 million people.", ["3 million"]),
    ("That is 61% of them.", ["61%"]),
    ("12.9 or 12.75, and 12.9 again.", ["12.9"]),
    ("Since 2019.", ["2019"]),
    ("48.9 people.", ["48.9"]),
])  # fmt: skip
def test_numbers_that_no_row_holds_are_found(text: str, foreign: list[str]) -> None:
    assert find_foreign_numbers(text, [ROWS]) == foreign


def test_a_loss_may_be_told_without_its_sign() -> None:
    assert find_foreign_numbers("It fell by 5, or -5.", [result((-5,))]) == []


def test_numbers_of_the_question_may_be_repeated() -> None:
    assert (
        find_foreign_numbers("Above 1,500 there is none.", [result()], known=["over 1500?"]) == []
    )
    assert find_foreign_numbers("Above 1,500 there is none.", [result()]) == ["1,500"]


def test_numbers_of_any_length_are_read_without_harm() -> None:
    text = "9" * 5_000
    assert find_foreign_numbers(text, [result((float("nan"), float("inf")))]) == [text]
