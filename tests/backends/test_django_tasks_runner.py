"""Django's own tasks: the backend that runs them at once, and a worker of django-tasks-db."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import django
import pytest
from django.test import TransactionTestCase, override_settings

from django_obc_ai.backends.task_runners import BaseTaskRunner
from django_obc_ai.backends.task_runners.django_tasks import DjangoTasksRunner
from django_obc_ai.exceptions import ConfigurationError, MissingDependencyError, TaskRunnerError
from django_obc_ai.models import Worker
from django_obc_ai.testing import TaskRunnerContract
from tests.extras import is_installed
from tests.servers.celery_processes import eventually
from tests.servers.launch import Supervised, make_folder, start

_HAS_TASKS = django.VERSION >= (6, 0)
needs_tasks = pytest.mark.skipif(not _HAS_TASKS, reason="Django has tasks since 6.0")
IMMEDIATE = "django.tasks.backends.immediate.ImmediateBackend"


@needs_tasks
class ImmediateTests(TaskRunnerContract, TransactionTestCase):
    def make_runner(self) -> BaseTaskRunner:
        return DjangoTasksRunner()


@pytest.fixture(scope="module")
def worker(django_db_setup: None) -> Iterator[Supervised]:
    """A worker of django-tasks-db, which works for the backend "database"."""
    pytest.importorskip("django_tasks_db")
    folder = make_folder("obc-db-worker-")
    log = folder / "log"
    running = start(
        [sys.executable, "-m", "tests.django_tasks_worker"],
        folder=folder,
        stop_signal=signal.SIGTERM,
        answers=lambda _pid: log.exists() and "Starting worker" in log.read_text(),
        environment={
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONWARNINGS": "",
            "PYTHONDEVMODE": "",
        },
    )
    yield running
    running.stop()


@needs_tasks
@pytest.mark.usefixtures("worker")
class DatabaseWorkerTests(TaskRunnerContract, TransactionTestCase):
    def make_runner(self) -> BaseTaskRunner:
        return DjangoTasksRunner(backend="database")

    def tearDown(self) -> None:
        from django_tasks_db.models import DBTaskResult

        # Emptying the tables under a worker that has yet to say how it went would end it.
        open_ones = DBTaskResult.objects.filter(finished_at__isnull=True)
        assert eventually(lambda: not open_ones.exists())

    def test_its_worker_is_noted(self) -> None:
        self._enqueue(self.make_runner(), "one")
        (run,) = self._wait_for("one")
        names = eventually(lambda: list(Worker.objects.values_list("name", flat=True)))
        assert [name.rpartition(":")[2] for name in names] == [str(run["pid"])]


@needs_tasks
@pytest.mark.skipif(not is_installed("django_tasks_db"), reason="no django-tasks-db")
@pytest.mark.django_db
class TestOfTheDatabaseBackend:
    def test_delay_priority_and_queue_reach_it(self) -> None:
        from django_tasks_db.models import DBTaskResult

        DjangoTasksRunner(backend="database").enqueue("a", priority=1000, delay_seconds=600)
        DjangoTasksRunner(backend="database", queue_name="other").enqueue("b", {"x": [1]})
        found = {each.args_kwargs["args"][0]: each for each in DBTaskResult.objects.all()}
        assert (found["a"].priority, found["a"].queue_name) == (100, "ai")
        wait = found["a"].run_after - found["a"].enqueued_at
        assert 590 < wait.total_seconds() < 610
        assert (found["b"].priority, found["b"].queue_name) == (0, "other")
        assert found["b"].args_kwargs == {"args": ["b", {"x": [1]}], "kwargs": {}}

    def test_flags_are_those_of_the_backend(self) -> None:
        runner = DjangoTasksRunner(backend="database")
        flags = (runner.is_immediate, runner.supports_delay, runner.supports_priority)
        assert flags == (False, True, True)

    def test_a_backend_that_takes_nothing_is_told(self) -> None:
        runner = DjangoTasksRunner(backend="database")
        fault = mock.patch.object(type(runner.backend), "enqueue", side_effect=OSError("pw"))
        with fault, pytest.raises(TaskRunnerError, match="OSError") as raised:
            runner.enqueue("a")
        assert "pw" not in str(raised.value)


@needs_tasks
def test_flags_of_the_immediate_backend() -> None:
    runner = DjangoTasksRunner()
    flags = (runner.is_immediate, runner.supports_delay, runner.supports_priority)
    assert flags == (True, False, True)
    runner.ping()


@needs_tasks
@pytest.mark.django_db
def test_tasks_that_run_at_once_make_no_worker_of_this_process() -> None:
    DjangoTasksRunner().enqueue("recover_jobs")
    assert not Worker.objects.exists()


@needs_tasks
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "nowhere"}, r"TASKS\['nowhere'\] cannot be used"),
        ({"backend": "other", "queue_name": "slow"}, "'slow' is none of the QUEUES"),
    ],
)
def test_what_django_does_not_have_is_a_configuration_error(
    options: dict[str, Any], message: str
) -> None:
    configured = {"default": {"BACKEND": IMMEDIATE}, "other": {"BACKEND": IMMEDIATE}}
    with override_settings(TASKS=configured):
        runner = DjangoTasksRunner(**options)
        for use in (runner.enqueue, lambda _: runner.check("here")):
            with pytest.raises(ConfigurationError, match=message):
                use("recover_jobs")


@pytest.mark.parametrize("tasks", [{"only": {"BACKEND": IMMEDIATE, "QUEUES": ["slow", "fast"]}}])
@needs_tasks
def test_a_project_without_default_names_can_use_it(tasks: dict[str, Any]) -> None:
    program = (
        "from django.conf import settings;"
        f"settings.configure(TASKS={tasks!r}); import django; django.setup();"
        "from django_obc_ai.backends.task_runners.django_tasks import DjangoTasksRunner as R;"
        "print(R(backend='only').check(''), R(backend='only')._queue())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[]", "fast"]


@pytest.mark.skipif(_HAS_TASKS, reason="Django has tasks here")
def test_before_django_6_it_says_what_to_do() -> None:
    assert not DjangoTasksRunner.is_installed()
    error = DjangoTasksRunner.missing_dependency()
    assert "Django 6.0" in error.message
    with pytest.raises(MissingDependencyError, match=r"Django 6\.0"):
        DjangoTasksRunner().enqueue("recover_jobs")
