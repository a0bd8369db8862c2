"""CSV that a spreadsheet shows and never computes."""

from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal

from django_obc_ai.safe_csv import write_parts, write_rows

EVIL = (
    "=HYPERLINK(1)", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1+1", "\n=cmd|x",
)  # fmt: skip


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_texts_that_look_like_formulas_begin_with_an_apostrophe() -> None:
    header, *lines = read(write_rows(["=a", "b"], [(each, 1) for each in EVIL]))
    assert header == ["'=a", "b"]
    assert [line[0] for line in lines] == [f"'{each}" for each in EVIL]


def test_nor_does_a_part_that_other_languages_take_for_a_cell() -> None:
    texts = ("a;=1", "a; +1", ";-1", "a \t@b", "Sulu; Tawi-Tawi", "1;2")
    lines = read(write_rows(["a"], [(each,) for each in texts]))[1:]
    wanted = ["a;'=1", "a; '+1", ";'-1", "a \t'@b", "Sulu; Tawi-Tawi", "1;2"]
    assert [line[0] for line in lines] == wanted


def test_numbers_stay_numbers_and_nothing_is_lost() -> None:
    rows = (('Lanao, "del"\nSur | x', -5), (None, Decimal("-1.50")), (date(2024, 7, 1), True))
    assert read(write_rows(["a", "b"], rows))[1:] == [
        ["Lanao, \"del\"\nSur | x", "-5"], ["", "-1.50"], ["2024-07-01", "True"],
    ]  # fmt: skip


def test_rows_in_parts_are_the_same_text() -> None:
    rows = [(each, number) for number, each in enumerate(EVIL)]
    parts = list(write_parts(["a", "b"], (rows[at : at + 2] for at in range(0, len(rows), 2))))
    assert len(parts) == 6
    assert "".join(parts) == write_rows(["a", "b"], rows)
