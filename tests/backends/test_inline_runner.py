"""The runner without a broker."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import TransactionTestCase

from django_obc_ai.backends.task_runners import BaseTaskRunner, task_runners
from django_obc_ai.backends.task_runners.inline import InlineRunner
from django_obc_ai.services import tasks
from django_obc_ai.testing import TaskRunnerContract


class InlineRunnerTests(TaskRunnerContract, TransactionTestCase):
    def make_runner(self) -> BaseTaskRunner:
        return InlineRunner()


def test_it_is_the_default() -> None:
    assert type(task_runners["default"]) is InlineRunner


def test_it_runs_at_once_and_knows_neither_delays_nor_priorities() -> None:
    runner = InlineRunner()
    assert runner.is_immediate
    assert (runner.supports_delay, runner.supports_priority) == (False, False)
    assert runner.waiting() is None


def test_a_task_that_there_is_not_is_the_callers_fault() -> None:
    with pytest.raises(LookupError, match="no task 'generate'"):
        tasks.send("generate")


@pytest.mark.django_db
def test_a_failing_task_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setitem(tasks.TASKS, "broken", f"{__name__}.fail")
    tasks.send("broken")
    (record,) = [each for each in caplog.records if each.__dict__.get("event") == "tasks.failed"]
    assert "ZeroDivisionError" in record.getMessage()


def fail() -> None:
    raise ZeroDivisionError
