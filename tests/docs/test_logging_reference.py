"""docs/reference/logging.md: its tables are those of the code, and its samples run."""

from __future__ import annotations

import importlib
import inspect
import logging
import logging.config
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from django_obc_ai import logging_config, logs
from django_obc_ai.logs import config, events
from django_obc_ai.logs.formatters import JsonFormatter
from tests.docs.markdown import DOCS, blocks, names, section, table_rows

PAGE = DOCS / "reference" / "logging.md"
SAMPLES = [block.text for block in blocks(PAGE) if block.text.startswith("# settings.py")]


def test_the_table_has_every_event_with_its_level_pace_and_fields() -> None:
    rows = {names(row[0])[0]: row for row in table_rows(section(PAGE, "Events"))}
    assert list(rows) == list(events.EVENTS)
    for name, event in events.EVENTS.items():
        _, level, pace, fields, when = rows[name]
        assert level == logging.getLevelName(event.level), name
        assert pace == (f"{event.every_seconds:g} s" if event.every_seconds else ""), name
        assert tuple(names(fields)) == event.fields, name
        assert when, name


def test_no_field_is_an_attribute_that_records_have() -> None:
    known = {*vars(logging.makeLogRecord({})), "message", "asctime", "event", "correlation_id"}
    for event in events.EVENTS.values():
        assert known.isdisjoint({*event.fields, "error", "error_at", "held_back"}), event.name


def test_the_table_of_arguments_is_the_signature() -> None:
    rows = table_rows(section(PAGE, "A ready LOGGING"))
    documented = {names(row[0])[0]: names(row[1])[0].replace('"', "'") for row in rows}
    parameters = inspect.signature(logging_config).parameters.values()
    assert documented == {each.name: repr(each.default) for each in parameters}


def test_the_loggers_that_it_names_are_set_to_warning() -> None:
    assert {"openai", "google_genai", "httpx"} <= set(config.SDK_LOGGERS)
    loggers = logging_config(level="DEBUG", django_level="DEBUG")["loggers"]
    assert {loggers[name]["level"] for name in config.SDK_LOGGERS} == {"WARNING"}


def test_what_is_declared_is_what_there_is() -> None:
    (text,) = [block.text for block in blocks(PAGE) if block.text.startswith("# django_obc_ai.")]
    module = importlib.import_module(text.splitlines()[0].removeprefix("# "))
    assert module is logs
    declared: dict[str, Any] = {"Iterator": Iterator}
    exec(f"from __future__ import annotations\n{text}", declared)  # noqa: S102 - our own page
    for name in logs.__all__:
        real = inspect.unwrap(getattr(logs, name))
        assert inspect.signature(declared[name]) == inspect.signature(real)


def test_the_samples_make_settings_that_dictconfig_takes(tmp_path: Path) -> None:
    assert len(SAMPLES) == 3
    base = f"from pathlib import Path\nBASE_DIR = Path({str(tmp_path)!r})\nMIDDLEWARE = []\n"
    made: dict[str, Any] = {}
    exec(base + SAMPLES[0] + SAMPLES[1], made)  # noqa: S102 - our own page
    logging.config.DictConfigurator(made["LOGGING"])
    assert made["MIDDLEWARE"] == ["django_obc_ai.middleware.CorrelationIdMiddleware"]
    assert made["LOGGING"]["loggers"]["django"]["handlers"][-1] == "mail_admins"
    own = "LOGGING = {'version': 1, 'loggers': {'django': {'level': 'ERROR'}}}\n"
    exec(f"{base}import django_obc_ai\n{own}{SAMPLES[2]}", made)  # noqa: S102 - our own page
    assert made["LOGGING"]["loggers"]["django"] == {"level": "ERROR"}
    assert "django_obc_ai" in made["LOGGING"]["loggers"]
    logging.config.DictConfigurator(made["LOGGING"])


def test_a_line_of_a_call_is_as_long_as_it_says(caplog: pytest.LogCaptureFixture) -> None:
    values: dict[str, Any] = dict.fromkeys(events.CALLS_FINISHED.fields, 12_345)
    values |= {"operation_id": "3f6c0f9e-8d1b-4a53-8a53-0f0a3a5b7c11", "outcome": "success"}
    values |= {"model": "gemini-2.5-flash", "provider": "default", "cost_usd": Decimal("0.000931")}
    values |= {"operation_type": "assessment", "ai_module": "mana"}
    with caplog.at_level(logging.INFO, "django_obc_ai"), logs.bound():
        events.CALLS_FINISHED.log(**values)
    assert 600 < len(JsonFormatter().format(caplog.records[0])) < 800
    assert "about 700 bytes" in PAGE.read_text()
