"""The table of the schedule is that of the code."""

from __future__ import annotations

from datetime import time

from django_obc_ai.services.task_table import SCHEDULE
from django_obc_ai.services.workers import SECONDS
from tests.docs.markdown import DOCS, names, section, table_rows

PAGE = DOCS / "reference" / "job-settings.md"


def _told(when: float | time) -> str:
    return f"daily at {when:%H:%M}" if isinstance(when, time) else f"every {when} seconds"


def test_every_scheduled_task_is_documented_with_its_interval() -> None:
    rows = {names(row[0])[0]: row[1] for row in table_rows(section(PAGE, "The schedule"))}
    assert rows == {name: _told(when) for name, when in SCHEDULE.items()}


def test_how_often_workers_are_noted_is_documented() -> None:
    assert f"every {SECONDS:.0f} seconds that they are there" in " ".join(PAGE.read_text().split())
