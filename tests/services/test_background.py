"""How work in the background stands: exact, from indexes alone, and without waiting for long."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_obc_ai.exceptions import TaskRunnerError
from django_obc_ai.models import Job, TaskState
from django_obc_ai.services import _job_queue, background
from django_obc_ai.services.background import Background, TaskRun, count_at_broker, read_background
from django_obc_ai.testing import override_ai
from tests.background import ScriptedRunner, job, runner, task, worker

pytestmark = pytest.mark.django_db
HOUR, DAY = datetime.timedelta(hours=1), datetime.timedelta(days=1)
MINUTE = datetime.timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _over() -> Iterator[None]:
    ScriptedRunner.over.clear()
    yield
    ScriptedRunner.over.set()
    if background._asking is not None:
        background._asking.join(30)


def read(**options: Any) -> Background:
    with override_ai(TASK_RUNNERS=runner(**options)):
        return read_background()


def test_nothing_is_told_where_nothing_works_in_the_background() -> None:
    with override_ai():
        found = read_background()
    assert not found.is_used and found.is_immediate
    assert (found.waiting, found.running, found.failed, found.workers) == (0, 0, 0, 0)
    assert found.oldest_at is None and found.beat_at is None and found.at_broker is None
    assert not (found.is_late or found.is_deserted or found.is_beat_late)


def test_jobs_are_counted_by_provider_and_by_how_they_ended() -> None:
    oldest = job(3 * MINUTE)
    job()
    job(provider="gone", status="running")
    for ago in (HOUR / 2, 2 * HOUR, 2 * DAY):
        job(ago, status="failed")
    job(status="succeeded")
    found = read()
    told = {each.provider: (each.waiting, each.running) for each in found.queues}
    assert told == {"default": (2, 0), "gone": (0, 1)}
    assert (found.waiting, found.running, found.failed) == (2, 1, 2)
    assert found.ended == {"failed": 2, "succeeded": 1}
    assert found.ended_hour == {"failed": 1, "succeeded": 1}
    assert found.oldest_at == oldest.created_at


def test_workers_count_while_they_are_heard_of() -> None:
    worker()
    worker(3 * MINUTE, name="host:2")
    assert read().workers == 1


def test_tasks_are_told_with_failures_first_and_without_what_was_done_once() -> None:
    task()
    task("check_budgets", is_ok=False, error_category="transient")
    task("recover_jobs", key="2026-11-28")
    task("of_another_package")
    found = read()
    assert [each.name for each in found.tasks] == ["check_budgets", "recover_jobs"]
    assert [each.error_category for each in found.failed_tasks] == ["transient"]


@pytest.mark.parametrize(
    ("name", "told", "forgotten"),
    [
        ("check_budgets", HOUR / 2, 2 * HOUR),  # every five minutes
        ("send_cost_report", 2 * HOUR, 4 * HOUR),  # every hour
        ("verify_index", 1.5 * DAY, 3 * DAY),  # daily
    ],
)
def test_a_failure_of_a_task_that_nobody_starts_any_more_is_forgotten(
    name: str, told: datetime.timedelta, forgotten: datetime.timedelta
) -> None:
    task(name, told, is_ok=False)
    assert [each.name for each in read().failed_tasks] == [name]
    at = datetime.datetime.now(datetime.UTC) - forgotten
    TaskState.objects.update(started_at=at, finished_at=at)
    assert read().failed_tasks == ()
    assert [each.is_ok for each in read().tasks] == [False]  # as it was


def test_a_failed_task_that_begins_and_never_ends_is_told() -> None:
    task("verify_index", 3 * DAY, is_ok=False)
    TaskState.objects.update(started_at=datetime.datetime.now(datetime.UTC) - HOUR)
    assert read().failed_tasks


def test_a_task_that_is_not_scheduled_is_told_for_two_days() -> None:
    at = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
    run = TaskRun(name="other", started_at=at, finished_at=at, is_ok=False, error_category="")
    assert Background(now=at + 1.9 * DAY, tasks=(run,)).failed_tasks == (run,)
    assert Background(now=at + 2.1 * DAY, tasks=(run,)).failed_tasks == ()


def test_a_job_that_nobody_takes_is_late_and_one_that_waits_for_limits_is_not() -> None:
    waits = job(HOUR, due_at=datetime.datetime.now(datetime.UTC) + HOUR)
    found = read()
    assert found.untaken_seconds == 0 and not (found.is_late or found.is_deserted)
    Job.objects.filter(pk=waits.pk).update(due_at=waits.created_at)
    _job_queue.hold_others("default", found.now + MINUTE)
    assert read().untaken_seconds == 0
    _job_queue.hold_others("default", found.now - 2 * HOUR)
    found = read()
    assert found.untaken_seconds >= 3600 and found.is_late and found.is_deserted
    worker()
    found = read()
    assert found.is_late and not found.is_deserted


def test_workers_that_were_there_and_are_gone_are_missed_although_no_job_waits() -> None:
    assert not read().is_unmanned  # nobody ever came
    worker(HOUR)
    found = read()
    assert found.is_unmanned and not found.is_deserted
    assert 3600 <= found.since(found.heard_at or found.now) < 3660
    task(ago=MINUTE)  # a beat is noted by a worker, so one was there
    assert not read().is_unmanned
    worker(name="host:2")
    assert not read().is_unmanned
    with override_ai():
        assert not read_background().is_unmanned


def test_a_beat_of_long_ago_says_that_workers_were_there_once() -> None:
    task(ago=HOUR)
    found = read()
    assert found.workers == 0 and found.is_unmanned and found.is_beat_late


def test_a_job_that_was_just_made_needs_nobody_yet() -> None:
    job()
    assert not read().is_deserted


def test_without_a_broker_nobody_has_to_be_there() -> None:
    job(HOUR)
    with override_ai():
        found = read_background()
    assert found.is_late and not found.is_deserted and not found.is_beat_late


def test_the_schedule_is_late_when_several_beats_are_missing() -> None:
    assert read().is_beat_late
    task(ago=MINUTE)
    assert not read().is_beat_late
    with override_ai(TASK_RUNNERS=runner()):
        later = read_background()
    at = later.now + datetime.timedelta(seconds=background.BEAT_LATE_SECONDS)
    assert Background(now=at, tasks=later.tasks, is_immediate=False).is_beat_late


def test_the_broker_says_how_many_tasks_wait_or_that_it_cannot() -> None:
    assert read(waiting=7).at_broker == 7
    found = read(waiting=None)
    assert (found.at_broker, found.broker_fault) == (None, "")
    found = read(fault="It is away.")
    assert (found.at_broker, found.broker_fault) == (None, "It is away.")


def test_a_runner_that_cannot_be_built_is_told_and_the_jobs_too() -> None:
    job()
    with override_ai(TASK_RUNNERS={"default": {"BACKEND": "nowhere.Runner"}}):
        found = read_background()
    assert "nowhere" in found.broker_fault and found.waiting == 1


def test_a_broker_that_hangs_is_waited_for_briefly_and_by_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "PATIENCE_SECONDS", 0.05)
    with override_ai(TASK_RUNNERS=runner(hangs=True)):
        with pytest.raises(TaskRunnerError, match="did not answer within"):
            count_at_broker()
        first = background._asking
        assert first is not None and first.daemon
        assert "did not answer" in read_background().broker_fault
        assert background._asking is first
        ScriptedRunner.over.set()
        first.join(30)
        monkeypatch.setattr(background, "PATIENCE_SECONDS", 30.0)
        assert count_at_broker() == 3


def test_who_may_not_ask_the_broker_does_not() -> None:
    with override_ai(TASK_RUNNERS=runner(fault="It is away.")):
        assert read_background(may_ask_broker=False).broker_fault == ""


@pytest.mark.parametrize("alias", ["default", "postgres"])
@pytest.mark.django_db(databases=["default", "postgres"])
def test_no_statement_reads_the_whole_table_of_jobs(alias: str, postgres_alias: str) -> None:
    connection = connections[alias]
    with override_settings(OBC_AI={"DATABASE": alias, "TASK_RUNNERS": runner()}):
        job()
        job(status="running")
        job(status="failed")
        with CaptureQueriesContext(connection) as caught:
            read_background()
    # Of holds there is one a provider.
    mine = [each["sql"] for each in caught.captured_queries if "jobhold" not in each["sql"]]
    assert len(mine) == 5
    is_postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        if is_postgres:
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        for statement in mine:
            kind = "EXPLAIN" if is_postgres else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{kind} {statement.replace('%', '%%')}", ())
            plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
            assert "Seq Scan" not in plan, plan
            # SQLite: over an index of the few that are meant; workers are few.
            if "SCAN django_obc_ai" in plan and "SCAN django_obc_ai_worker" not in plan:
                assert "USING" in plan and "INDEX obc_ai_job_" in plan, plan
            if "obc_ai_job_finished" in plan or "obc_ai_job_waiting" in plan:
                assert "ONLY" in plan.upper() or "COVERING" in plan, plan  # no row is read
