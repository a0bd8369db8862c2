"""What the templates of the chat page and the widget are given, ready to be printed."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

from django.utils.safestring import SafeString


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of a chart, where it is drawn.

    Attributes:
        label: What it belongs to, for people.
        value: The value itself.
        text: The value for people.
        x: Of a bar its left edge, of a line's point its centre; from 0 at the left to 100.
        y: Of a bar its upper edge, of a line's point its centre; from 0 at the top to 100.
        width: Of the bar; 0 for a line.
        height: Of the bar; 0 for a line.
    """

    label: str
    value: float
    text: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A series or a breakdown, in a space of 100 by 100.

    Attributes:
        kind: "bar" lies, one row below the other; "line" goes from left to right.
        label: What the points belong to: the label of the column that was grouped by.
        value_label: What is drawn.
        points: From two to 24, in order.
        zero: Where nought is: x for bars, y for a line.
    """

    kind: Literal["bar", "line"]
    label: str
    value_label: str
    points: tuple[Point, ...]
    zero: float

    @property
    def path(self) -> str:
        """Return the points as ``points`` of an SVG polyline has them: "0,10 50,20"."""
        return " ".join(f"{each.x:g},{each.y:g}" for each in self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of an answer.

    Attributes:
        labels: Heads of the columns.
        rows: Cells as people read them, in the reader's language.
        total: Rows that match; None where that was not counted.
        is_cut: Whether there are more rows than these.
        is_numeric: Of each column, whether it holds numbers.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int | None
    is_cut: bool
    is_numeric: tuple[bool, ...]

    @property
    def heads(self) -> tuple[tuple[str, bool], ...]:
        """Return each label, with whether its column holds numbers."""
        return tuple(zip(self.labels, self.is_numeric, strict=True))

    @property
    def lines(self) -> tuple[tuple[tuple[str, bool], ...], ...]:
        """Return each row, each cell of it with whether its column holds numbers."""
        return tuple(tuple(zip(row, self.is_numeric, strict=True)) for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCitation:
    """A source that an answer names.

    Attributes:
        number: As the answer has it.
        title: What people call it.
        url: Of its page; "" without one.
        text: The passage; "" for rows, which the table shows.
    """

    number: int
    title: str
    url: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAnswer:
    """One answer.

    Attributes:
        key: Part of the ids of its elements: source 1 is ``obc-ai-source-<key>-1``.
        html: The text, rendered and sanitised.
        citations: The sources that the text links to.
        table: The rows; None without any, and for answers further up in a history.
        chart: A drawing of the same rows, or None.
        found_by: In words, how the rows were found; "" where that is not known.
        suggestions: What to ask next.
        warnings: What a check of the answer noticed.
        is_refused: Whether nothing was done.
        is_offline: Whether no language model had a part in it.
        error: None, or the category of a failure, which the text states in words.
        rows_url: Where the rows are as CSV; "" without rows.
        page_url: Of the conversation's page, where a suggestion can be asked.
        sql: For staff the SQL of the query; "" for others.
    """

    key: str
    html: SafeString
    citations: tuple[ShownCitation, ...] = ()
    table: Table | None = None
    chart: Chart | None = None
    found_by: str = ""
    suggestions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_refused: bool = False
    is_offline: bool = False
    error: str | None = None
    rows_url: str = ""
    page_url: str = ""
    sql: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMessage:
    """One question or one answer.

    Attributes:
        role: Who said it.
        text: The question; "" for an answer.
        answer: The answer; None for a question.
        retry_url: Of a question without an answer, where it is in the form again; else "".
    """

    role: Literal["user", "assistant"]
    text: str = ""
    answer: ShownAnswer | None = None
    retry_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownConversation:
    """A conversation in the list of one's own.

    Attributes:
        key: Its key.
        title: The first question, shortened.
        url: Of its page.
        delete_url: To send a POST to.
        updated_at: When somebody last asked something in it.
        is_current: Whether it is the one of this page.
    """

    key: str
    title: str
    url: str
    delete_url: str
    updated_at: datetime.datetime
    is_current: bool = False
