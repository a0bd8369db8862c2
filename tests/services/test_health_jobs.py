"""What the health report says of the task runner, jobs, workers and the schedule."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_obc_ai.services.health import HealthItem, check_health
from django_obc_ai.testing import override_ai
from tests.background import job, runner, task, worker

pytestmark = pytest.mark.django_db
HOUR, MINUTE = datetime.timedelta(hours=1), datetime.timedelta(minutes=1)
ALL = ["task runner", "jobs", "workers", "schedule"]


def look(**options: Any) -> dict[str, HealthItem]:
    with override_ai(TASK_RUNNERS=runner(**options)):
        return {each.name: each for each in check_health(only=ALL).items}


def test_without_a_broker_nobody_is_missed() -> None:
    with override_ai():
        found = check_health(only=ALL).items
    assert {each.status for each in found} == {"ok"}
    assert [each.message for each in found][1:] == [
        "InlineRunner.",
        "0 waiting, 0 running; 0 failed within a day.",
        "None is needed: tasks run in the process that asks for them.",
        "None is needed: nothing waits for a worker.",
    ]


def test_without_a_broker_a_job_that_nobody_takes_up_is_a_warning() -> None:
    job(HOUR)
    with override_ai():
        _, found = check_health(only=["jobs"]).items
    assert found.status == "warning" and "for 60 minutes" in found.message
    assert found.hint == "Run: manage.py run_jobs"


def test_a_runner_that_answers_and_whose_workers_work_is_healthy() -> None:
    job()
    worker()
    task()
    found = look()
    assert {each.status for each in found.values()} == {"ok"}
    assert found["task runner default"].message == "ScriptedRunner."
    assert found["workers"].message == "1 seen within the last 2 minutes."
    assert found["schedule"].message.startswith("It last worked ")


def test_a_broker_that_is_away_could_not_be_asked() -> None:
    found = look(fault="Its broker is away.")["task runner default"]
    assert (found.status, found.message) == ("unknown", "Its broker is away.")
    assert "nothing can be submitted" in found.hint


def test_jobs_that_wait_while_nobody_works_are_an_error() -> None:
    job(2 * MINUTE)
    found = look()
    assert found["workers"].status == "error" and "1 jobs wait" not in found["workers"].message
    assert found["jobs"].status == "ok"
    worker()
    assert look()["workers"].status == "ok"


def test_nobody_is_missed_where_nobody_was_and_nothing_waits() -> None:
    assert look()["workers"].status == "ok"
    task()
    assert look()["workers"].status == "ok"


def test_workers_that_are_gone_are_a_warning_and_blamed_for_the_schedule() -> None:
    task(ago=HOUR)
    found = look()
    assert found["workers"].status == found["schedule"].status == "warning"
    assert "one was there 60 minutes ago" in found["workers"].message
    for name in ("workers", "schedule"):
        assert found[name].hint.startswith("Start a worker"), name
        assert "Start the scheduler" not in found[name].hint
    worker()
    found = look()
    assert (found["workers"].status, found["schedule"].status) == ("ok", "warning")
    assert found["schedule"].hint.startswith("Start the scheduler")
    assert "more workers if the line at the broker is long" in found["schedule"].hint


def test_a_schedule_that_stands_still_is_a_warning() -> None:
    found = look()["schedule"]
    assert (found.status, found.message) == ("warning", "It never worked.")
    task(ago=HOUR)
    found = look()["schedule"]
    assert (found.status, found.message) == ("warning", "It last worked 60 minutes ago.")


def test_a_scheduled_task_that_failed_is_a_warning() -> None:
    task()
    task("check_budgets", is_ok=False, error_category="transient")
    found = look()["schedule"]
    assert found.status == "warning" and "check_budgets (transient)" in found.message


def test_the_figures_are_read_once_for_all_parts() -> None:
    with override_ai(TASK_RUNNERS=runner()), CaptureQueriesContext(connection) as caught:
        check_health(only=["jobs", "workers", "schedule"])
    assert len(caught) == 6
