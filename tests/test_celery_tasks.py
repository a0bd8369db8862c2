"""The package's tasks as Celery's, and the schedule."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.models import TaskState, Worker
from django_obc_ai.services.task_table import SCHEDULE, TASKS
from tests.extras import requires
from tests.servers.celery_processes import eventually, run_beat, run_worker
from tests.servers.valkey import RedisServer
from tests.subprocesses import run_python

pytestmark = requires("celery")


@pytest.fixture
def app() -> Iterator[Any]:
    from celery import Celery

    import django_obc_ai.tasks  # noqa: F401 - as autodiscover_tasks() does

    with Celery("test", set_as_current=False, broker="memory://") as found:
        yield found


def test_each_task_is_one_of_celerys_and_keeps_nothing(app: Any) -> None:
    app.finalize()
    ours = {name for name in app.tasks if name.startswith("django_obc_ai.")}
    assert {name.removeprefix("django_obc_ai.") for name in ours} >= set(TASKS)
    for name in TASKS:
        task = app.tasks[f"django_obc_ai.{name}"]
        assert (task.ignore_result, task.max_retries, task.serializer) == (True, 0, "json")
        # What kills its worker would kill the next one; only of jobs it is counted how often. And
        # RabbitMQ ends the connection of who does not confirm a long task.
        is_job = name == "generate_text"
        assert (task.acks_late, task.reject_on_worker_lost) == (is_job, is_job)


def test_the_limits_of_a_projects_own_tasks_end_none_of_ours(app: Any) -> None:
    app.conf.update(task_time_limit=300, task_soft_time_limit=60)
    app.conf.task_annotations = {
        "django_obc_ai.roll_up": {"time_limit": 900},
        "django_obc_ai.drain_spool": {"soft_time_limit": 90},
    }
    app.finalize()
    week = 7 * 24 * 3600
    tasks = {name: app.tasks[f"django_obc_ai.{name}"] for name in TASKS}
    limits = {name: (each.time_limit, each.soft_time_limit) for name, each in tasks.items()}
    assert limits.pop("roll_up") == (900, 900)  # else beat would not send it
    assert limits.pop("drain_spool") == (week, 90)
    assert set(limits.values()) == {(week, week)}
    tasks["roll_up"].apply_async()


def test_a_task_runs_what_the_table_names(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(
        "django_obc_ai._celery.run_here", lambda name, arguments: ran.append((name, arguments))
    )
    app.finalize()
    app.tasks["django_obc_ai.rebuild_index"](name="places")
    assert ran == [("rebuild_index", {"name": "places"})]


def test_the_schedule_has_every_task_that_comes_by_itself() -> None:
    from django_obc_ai.tasks import beat_schedule

    assert set(SCHEDULE) <= set(TASKS)
    assert set(TASKS) - set(SCHEDULE) <= {"generate_text", "rebuild_index", "contract_note"}
    schedule = beat_schedule()
    assert set(schedule) == {f"django_obc_ai.{name}" for name in SCHEDULE}
    for name, entry in schedule.items():
        assert entry["task"] == name
        assert 0 < entry["options"]["expires"] <= 12 * 3600


def test_an_interval_can_be_changed_and_an_entry_left_out() -> None:
    from celery.schedules import crontab

    from django_obc_ai._celery import DailyAt
    from django_obc_ai.tasks import beat_schedule

    mine = crontab(minute="*/7")
    found = beat_schedule(
        recover_jobs=10,
        warm_cache=None,
        roll_up=time(3, 15),
        check_budgets=mine,
        drain_spool=2.5,
        purge_operations=86_400,
    )
    entry = found["django_obc_ai.recover_jobs"]
    # Several rounds, so that a long line does not drop them all.
    assert (entry["schedule"], entry["options"]["expires"]) == (10, 100)
    assert found["django_obc_ai.purge_operations"]["options"]["expires"] == 12 * 3600
    assert found["django_obc_ai.drain_spool"]["schedule"] == 2.5
    assert "django_obc_ai.warm_cache" not in found
    assert found["django_obc_ai.roll_up"]["schedule"] == DailyAt(15, 3)
    assert found["django_obc_ai.check_budgets"]["schedule"] is mine


WITHOUT_CELERY = """
import sys
from django.conf import settings
from django.utils.module_loading import autodiscover_modules
import django

sys.modules["celery"] = None
apps = ["django.contrib.auth", "django.contrib.contenttypes", "django_obc_ai"]
settings.configure(INSTALLED_APPS=apps)
django.setup()
autodiscover_modules("tasks")
from django_obc_ai.tasks import beat_schedule
try:
    beat_schedule()
except Exception as error:
    print(type(error).__name__, error.hint)
"""


def test_where_celery_is_missing_other_frameworks_find_no_tasks(tmp_path: Path) -> None:
    found = run_python(["-c", WITHOUT_CELERY], cwd=tmp_path)
    hint = 'Run: python -m pip install "django-obc-ai[celery]"'
    assert found.stdout.strip() == f"MissingDependencyError {hint}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recover_job": 10}, "no task 'recover_job'; it has recover_jobs"),
        ({"generate_text": 10}, "no task 'generate_text'"),
        ({"recover_jobs": 0}, "recover_jobs="),
        ({"recover_jobs": True}, "recover_jobs="),
        ({"recover_jobs": "often"}, "recover_jobs="),
    ],
)
def test_what_makes_no_schedule_is_refused(changes: dict[str, Any], message: str) -> None:
    from django_obc_ai.tasks import beat_schedule

    with pytest.raises(TypeError, match=message):
        beat_schedule(**changes)


@override_settings(TIME_ZONE="Asia/Manila")
@pytest.mark.parametrize("zone", ["UTC", "Asia/Manila", "America/Los_Angeles"])
def test_daily_hours_are_those_of_the_project_whatever_celerys_zone_is(zone: str, app: Any) -> None:
    from django_obc_ai._celery import DailyAt

    app.conf.timezone = zone
    now = datetime(2026, 11, 28, 17, 29, tzinfo=UTC)  # 01:29 on the 29th in Manila
    schedule = DailyAt(30, 1, nowfun=lambda: now, app=app)
    before = datetime(2026, 11, 27, 17, 30, tzinfo=UTC)
    assert schedule.is_due(before) == (False, 60.0)
    now = datetime(2026, 11, 28, 17, 30, tzinfo=UTC)
    is_due, wait = schedule.is_due(before)
    assert (is_due, wait) == (True, 24 * 3600)


def test_beat_can_store_a_daily_entry() -> None:
    from django_obc_ai._celery import DailyAt

    schedule = DailyAt(30, 1)
    again = pickle.loads(pickle.dumps(schedule))  # noqa: S301 - as beat does with its own file
    assert type(again) is DailyAt
    assert again == schedule


@pytest.mark.django_db(transaction=True)
def test_every_scheduled_task_runs_on_schedule(redis_server: RedisServer) -> None:
    def done() -> bool:
        rows = TaskState.objects.filter(key="", finished_at__isnull=False, runs__gte=2)
        return set(rows.values_list("name", flat=True)) >= set(SCHEDULE)

    often = dict.fromkeys(SCHEDULE, 3)
    with run_worker(redis_server.url, concurrency=1) as worker:
        assert eventually(lambda: Worker.objects.filter(name__startswith="worker@").exists())
        with run_beat(redis_server.url, schedule=often) as beat:
            assert eventually(done), list(TaskState.objects.values_list("name", "runs"))
            assert beat.is_running()
        failed = dict(TaskState.objects.filter(is_ok=False).values_list("name", "error_message"))
        assert failed == {}, worker.log.read_text()
    assert not Worker.objects.exists()  # an orderly end is noted


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_workers_without_processes_of_their_own_are_noted_too(
    pool: str, redis_server: RedisServer
) -> None:
    with run_worker(redis_server.url, pool=pool, name=pool):
        assert eventually(lambda: Worker.objects.filter(name__startswith=f"{pool}@").exists())


@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_is_found_again_under_its_name(redis_server: RedisServer) -> None:
    with run_worker(redis_server.url) as worker:
        first = eventually(Worker.objects.first)
        worker.kill_all()
        assert Worker.objects.get().name == first.name
    with run_worker(redis_server.url):
        assert eventually(lambda: Worker.objects.get().started_at > first.started_at)
        assert Worker.objects.get().name == first.name
