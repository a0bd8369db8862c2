"""The registry of events, and the calls in the package that log them."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, OperationalError

import django_obc_ai
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.logs import bound, event, events
from django_obc_ai.logs.event import Event, describe, name_of, places_of

PACKAGE = Path(django_obc_ai.__file__).parent
SECRET = "Whose land is it?"
OFTEN = Event(
    name="health.often", level=logging.WARNING, message="It is %(what)s.", fields=("what",),
    every_seconds=30,
)  # fmt: skip


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for path in PACKAGE.rglob("*.py"):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def _logged() -> Iterator[tuple[str, str, set[str]]]:
    """Every ``events.NAME`` of the package, with the fields that it is given ("" where none)."""
    for place, tree in _sources():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "events"
                and node.attr.isupper()
            ):
                yield place, node.attr, set()
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "log"
                and isinstance(node.func.value, ast.Attribute)
                and node.func.value.attr.isupper()
            ):
                yield place, node.func.value.attr, {str(each.arg) for each in node.keywords}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(event, "_clock", lambda: now[0])
    return now


def test_nothing_in_the_package_logs_but_events() -> None:
    found = {
        place
        for place, tree in _sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "getLogger"
    }
    assert found == {"logs/event.py", "services/_disk.py"}  # the latter looks for log files


def test_every_event_is_logged_somewhere() -> None:
    names = {name for name, each in vars(events).items() if isinstance(each, Event)}
    assert {name for _, name, _ in _logged()} == names
    assert len(events.EVENTS) == len(names)


def test_every_call_gives_the_fields_that_are_declared() -> None:
    calls = 0
    for place, name, given in _logged():
        if given:
            declared = getattr(events, name).fields
            assert given - {"about", "error"} == set(declared), f"{place}: {name}"
            calls += 1
    assert calls > 30


def test_the_line_of_a_call_gives_the_fields_that_are_declared() -> None:
    tree = ast.parse((PACKAGE / "gateway" / "ledger.py").read_text())
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "event.log"
    ]
    given = [each.arg for each in call.keywords if each.arg != "about"]
    for each in (events.CALLS_FINISHED, events.CALLS_CACHED, events.CALLS_FAILED):
        assert list(each.fields) == given


@pytest.mark.parametrize("each", events.EVENTS.values(), ids=lambda each: each.name)
def test_an_event_can_be_logged_with_its_fields(
    each: Event, caplog: pytest.LogCaptureFixture
) -> None:
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", each.name)
    with caplog.at_level(logging.DEBUG, "django_obc_ai"):
        each.log(error=OperationalError("locked"), **dict.fromkeys(each.fields, 7))
    (record,) = caplog.records
    assert record.name == f"django_obc_ai.{each.name.partition('.')[0]}"
    assert record.levelno == each.level
    assert record.getMessage().endswith(" OperationalError: locked at ?.")
    assert vars(record)["event"] == each.name
    assert all(vars(record)[name] == 7 for name in each.fields)
    assert record.filename == "test_events.py"


def test_an_event_without_fields_is_a_plain_sentence(caplog: pytest.LogCaptureFixture) -> None:
    events.LEDGER_SPOOL_WAITS.log()
    assert caplog.messages == ["The spool waits: the database failed."]


def test_records_hold_the_correlation_id(caplog: pytest.LogCaptureFixture) -> None:
    with bound("request-1"):
        OFTEN.log(what="late")
    OFTEN.log(about="other", what="late")
    assert [vars(each)["correlation_id"] for each in caplog.records] == ["request-1", "-"]


# --- how often ------------------------------------------------------------------------------------
def test_an_event_that_may_come_often_is_logged_once_in_a_while(
    caplog: pytest.LogCaptureFixture, clock: list[float]
) -> None:
    for _ in range(100):
        OFTEN.log(what="late")
    OFTEN.log(about="another", what="early")
    assert caplog.messages == ["It is late.", "It is early."]
    clock[0] += 30
    OFTEN.log(what="late")
    assert caplog.messages[2] == "It is late. 99 like it were not logged."
    assert vars(caplog.records[2])["held_back"] == 99
    clock[0] += 30
    OFTEN.log(what="late")
    assert caplog.messages[3] == "It is late."


def test_what_nobody_listens_to_is_not_counted(
    caplog: pytest.LogCaptureFixture, clock: list[float]
) -> None:
    with caplog.at_level(logging.CRITICAL, "django_obc_ai.health"):
        OFTEN.log(what="late")
    OFTEN.log(what="late")
    assert caplog.messages == ["It is late."]


def test_the_memory_of_what_was_logged_is_bounded(clock: list[float]) -> None:
    for number in range(3_000):
        OFTEN.log(about=str(number), what="late")
    assert len(event._limiter._state) == 1_000


# --- errors --------------------------------------------------------------------------------------
def test_errors_are_told_without_what_may_quote_somebody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    try:
        try:
            raise IntegrityError(f"Failing row contains (1, {SECRET})")
        except IntegrityError as error:
            raise ValueError(f"bad: {SECRET}") from error
    except ValueError as error:
        events.CACHE_READ_FAILED.log(error=error)
    (record,) = caplog.records
    assert record.exc_info is None
    assert vars(record)["error"] == "ValueError (from IntegrityError)"
    assert re.search(r"test_events.py:\d+ in test_errors_are_told", vars(record)["error_at"])
    assert SECRET not in caplog.text
    assert SECRET not in repr(vars(record))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CostStoreError("Redis is away."), "CostStoreError: Redis is away."),
        (ImproperlyConfigured("No."), "ImproperlyConfigured: No."),
        (OperationalError("refused\nCONTEXT: SELECT 1"), "OperationalError: refused"),
        (PermissionError(13, "Permission denied", "/x"), "PermissionError: Permission denied"),
        (OSError(SECRET), "OSError"),
        (IntegrityError(SECRET), "IntegrityError"),
        (RuntimeError(SECRET), "RuntimeError"),
        (OperationalError(""), "OperationalError"),
    ],
)
def test_describe_says_what_is_about_machines(error: Exception, told: str) -> None:
    assert describe(error) == told
    assert places_of(error) == "?"


def test_receivers_are_named_by_where_they_were_made() -> None:
    class Receiver:
        def __call__(self) -> None: ...

        def __repr__(self) -> str:
            return SECRET

    def receive(**_: Any) -> None: ...

    where = f"{__name__}.test_receivers_are_named_by_where_they_were_made.<locals>"
    assert name_of(receive) == f"{where}.receive"
    assert name_of(Receiver()) == f"{where}.Receiver"
