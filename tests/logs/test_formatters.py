"""Lines that machines and people read: one for each record, whatever it holds."""

from __future__ import annotations

import datetime
import json
import logging
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from django_obc_ai.logs.formatters import JsonFormatter, TextFormatter


def record(message: str = "It happened.", **fields: Any) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "project", "levelname": "INFO", "msg": message})
    made.created = datetime.datetime(2026, 11, 28, 9, 5, 7, 8_900, datetime.UTC).timestamp()
    vars(made).update(fields)
    return made


def json_of(made: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(made)
    assert line.isascii() and len(line.splitlines()) == 1
    return dict(json.loads(line))


def failed() -> Any:
    try:
        raise RuntimeError("first\nsecond 2026-11-28T00:00:00.000Z INFO forged")
    except RuntimeError:
        return sys.exc_info()


def test_json_says_when_where_and_what() -> None:
    found = json_of(record(event="budget.refused", correlation_id="request-1"))
    assert found == {
        "time": "2026-11-28T09:05:07.008Z",
        "level": "INFO",
        "logger": "project",
        "message": "It happened.",
        "event": "budget.refused",
        "correlation_id": "request-1",
        "pid": found["pid"],
    }


def test_fields_are_beside_it_and_money_is_exact() -> None:
    key = uuid.uuid4()
    found = json_of(
        record(cost_usd=Decimal("0.000000001"), operation_id=key, tokens=3, cached=False,
               path=Path("/x"), on=datetime.date(2026, 1, 2), names=("a", "b"), nan=float("nan"))
    )  # fmt: skip
    assert found["cost_usd"] == "0.000000001"
    assert found["operation_id"] == str(key)
    assert (found["tokens"], found["cached"]) == (3, False)
    assert (found["path"], found["on"], found["names"], found["nan"]) == (
        "/x", "2026-01-02", ["a", "b"], "nan",
    )  # fmt: skip


def test_of_objects_only_the_class_is_told() -> None:
    request = RequestFactory().get("/ask", {"question": "Whose land is it?"})
    found = json_of(record(request=request, raw=b"\xff", nested={"request": request, 1: object()}))
    assert found["request"] == "<WSGIRequest>"
    assert found["raw"] == "<bytes>"
    assert found["nested"] == {"request": "<WSGIRequest>", "1": "<object>"}


def test_what_contains_itself_ends_somewhere() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    assert "<dict>" in json.dumps(json_of(record(loop=loop)))


def test_fields_cannot_pass_for_our_own() -> None:
    found = json_of(record(time="never", level="NONE"))
    assert (found["level"], found["level_"], found["time_"]) == ("INFO", "NONE", "never")


def test_exceptions_are_part_of_the_line() -> None:
    found = json_of(record(exc_info=failed(), stack_info="Stack\nof lines"))
    assert found["exception"].endswith("INFO forged")
    assert found["stack"] == "Stack\nof lines"


@given(st.text())
def test_no_message_makes_a_second_line(text: str) -> None:
    assert json_of(record(text, field=text))["field"] == text
    assert len(TextFormatter().format(record(text)).splitlines()) == 1


def test_text_has_event_and_correlation_id() -> None:
    line = TextFormatter().format(record(event="budget.refused", correlation_id="request-1"))
    assert line == "2026-11-28T09:05:07.008Z INFO project [request-1] budget.refused: It happened."
    assert (
        TextFormatter().format(record()) == "2026-11-28T09:05:07.008Z INFO project [-] It happened."
    )


@pytest.mark.parametrize("end", ["\n", "\r", "\x1b[2K", "\u2028", "\x85", "\ud800"])
def test_a_message_cannot_forge_a_record(end: str) -> None:
    line = TextFormatter().format(record(f"one{end}2026-11-28T00:00:00.000Z INFO forged"))
    assert len(line.splitlines()) == 1
    assert line.isprintable()


def test_a_traceback_is_indented_so_that_it_is_no_record() -> None:
    first, *others = TextFormatter().format(record(exc_info=failed(), stack_info="S")).splitlines()
    assert first.startswith("2026-11-28T09:05:07.008Z")
    assert others and all(line.startswith("    ") for line in others)
