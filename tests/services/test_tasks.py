"""Running tasks by name, how each run is noted, and claims on work that one process does."""

from __future__ import annotations

import datetime
import logging
from typing import Any

import pytest
from django.core.management import call_command, get_commands
from django.db import OperationalError
from django.utils import timezone
from django.utils.module_loading import import_string

from django_obc_ai.exceptions import TaskRunnerError, UnknownIndexError
from django_obc_ai.gateway import keeper
from django_obc_ai.models import TaskState
from django_obc_ai.services import _claims, tasks
from django_obc_ai.services._claims import claimed, claimed_once, is_claimed
from django_obc_ai.testing import override_ai
from tests.subprocesses import run_together
from tests.task_runners import of_this_test

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "Whose land is it?"
IN_THIS_MODULE = "tests.services.test_tasks"


def works() -> None:
    pass


def fails(text: str = SECRET) -> None:
    raise ValueError(text)


def is_refused() -> None:
    raise TaskRunnerError("The broker is away.")


@pytest.fixture
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("works", "fails", "is_refused"):
        monkeypatch.setitem(tasks.TASKS, name, f"{IN_THIS_MODULE}.{name}")


def note(name: str) -> TaskState:
    return TaskState.objects.get(name=name, key="")


@pytest.mark.usefixtures("_named")
def test_a_run_is_noted() -> None:
    before = timezone.now()
    for _ in range(3):
        tasks.run("works", {})
    row = note("works")
    assert (row.runs, row.is_ok, row.error_category) == (3, True, "")
    assert row.worker == tasks.worker_name()
    assert row.started_at is not None and row.finished_at is not None
    assert before <= row.started_at <= row.finished_at


@pytest.mark.usefixtures("_named")
def test_a_failure_is_noted_logged_and_raised_without_what_it_quotes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        pytest.raises(ValueError, match=SECRET[:-1]),
        caplog.at_level(logging.ERROR, "django_obc_ai.tasks"),
    ):
        tasks.run("fails", {"text": SECRET})
    row = note("fails")
    assert (row.is_ok, row.error_category, row.error_message) == (False, "ValueError", "ValueError")
    (record,) = caplog.records
    assert (vars(record)["event"], vars(record)["task"]) == ("tasks.failed", "fails")
    assert SECRET not in caplog.text
    with pytest.raises(TaskRunnerError):
        tasks.run("is_refused", {})
    row = note("is_refused")
    assert row.error_category == "transient"
    assert row.error_message == "TaskRunnerError: The broker is away."


@pytest.mark.usefixtures("_named")
def test_a_run_that_works_takes_the_failure_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=SECRET[:-1]):
        tasks.run("fails", {})
    monkeypatch.setitem(tasks.TASKS, "fails", f"{IN_THIS_MODULE}.works")
    tasks.run("fails", {})
    assert (note("fails").is_ok, note("fails").error_message, note("fails").runs) == (True, "", 2)


@pytest.mark.usefixtures("_named")
def test_a_note_that_fails_keeps_no_task_from_its_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(tasks, "persist", away)
    with caplog.at_level(logging.WARNING, "django_obc_ai.tasks"):
        tasks.run("works", {})
    assert {vars(record)["event"] for record in caplog.records} == {"tasks.not_noted"}


def test_an_unknown_task_is_named_with_those_there_are() -> None:
    with pytest.raises(LookupError, match=r"no task 'nothing'.*check_budgets"):
        tasks.run("nothing", {})


def test_jobs_are_not_noted_a_ticket_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.TASKS, "generate_text", f"{IN_THIS_MODULE}.works")
    tasks.run("generate_text", {})
    assert not TaskState.objects.exists()


def test_four_processes_at_once_count_every_run() -> None:
    given = {**of_this_test(), "run": [["expire_reservations", {}]] * 5}
    run_together("tests.task_in_process", given)
    row = note("expire_reservations")
    assert (row.runs, row.is_ok) == (20, True)


#: Tasks of jobs are tested beside them.
_HERE = [name for name in tasks.TASKS if name not in ("generate_text", "recover_jobs")]


@pytest.mark.parametrize("name", _HERE)
def test_every_task_is_a_function_that_may_run_twice(name: str) -> None:
    with override_ai():
        assert callable(import_string(tasks.TASKS[name]))
        for _ in range(2):
            if name == "rebuild_index":
                tasks.run(name, {"index": "places"})
            else:
                tasks.run(name, {})
    assert note(name).runs == 2
    assert note(name).is_ok


def test_the_commands_without_arguments_do_the_same() -> None:
    with override_ai():
        for name in ("check_budgets", "expire_reservations", "warm_cache", "ai_drain_spool"):
            assert name in get_commands()
            call_command(name)


def test_a_task_of_an_index_that_is_not_there_fails() -> None:
    for name in ("index_objects", "rebuild_index", "verify_index"):
        with pytest.raises(UnknownIndexError):
            tasks.run(name, {"index": "nothing"})


def test_what_is_claimed_is_claimed_by_nobody_else() -> None:
    with claimed("work", "a") as first, claimed("work", "a") as second, claimed("work", "b") as b:
        assert (first, second, b) == (True, False, True)
        assert is_claimed("work", "a")
    assert not is_claimed("work", "a")
    with claimed("work", "a") as again:
        assert again


def test_a_claim_ends_with_an_error_too() -> None:
    with pytest.raises(KeyError), claimed("work"):
        raise KeyError
    assert not is_claimed("work")


def test_the_claim_of_a_dead_process_lasts_as_long_as_its_lease() -> None:
    claim = claimed("work", seconds=60)
    assert claim.__enter__()
    TaskState.objects.update(lease_until=timezone.now() - datetime.timedelta(seconds=1))
    with claimed("work") as taken_over:
        assert taken_over
        claim.__exit__(None, None, None)  # the dead one wakes up: it takes nobody's claim away
        assert is_claimed("work")


def test_a_claim_is_renewed_while_its_work_goes_on() -> None:
    with claimed("work", seconds=60):
        (owner,) = TaskState.objects.values_list("owner", flat=True)
        soon = timezone.now() + datetime.timedelta(seconds=1)
        TaskState.objects.update(lease_until=soon)
        kept = keeper._keeper.kept[owner]
        assert kept.every_seconds == 20
        kept.renew()
        assert TaskState.objects.get().lease_until > soon


def test_what_was_done_once_is_not_done_again() -> None:
    with claimed_once("work", "today", seconds=60) as first:
        with claimed_once("work", "today", seconds=60) as beside:
            assert (first, beside) == (True, False)
    with claimed_once("work", "today", seconds=60) as again:
        assert not again
    with claimed_once("work", "tomorrow", seconds=60) as other:
        assert other


def test_what_failed_is_done_by_the_next() -> None:
    with pytest.raises(ConnectionRefusedError), claimed_once("work", "today", seconds=60):
        raise ConnectionRefusedError
    row = TaskState.objects.get()
    assert (row.is_ok, row.error_category) == (False, "ConnectionRefusedError")
    with claimed_once("work", "today", seconds=60) as again:
        assert again
    assert TaskState.objects.get().is_ok


def test_a_repeated_statement_does_not_take_its_own_claim_for_anothers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    TaskState.objects.create(name="work")

    def twice(_: str, work: Any) -> Any:
        work()
        return work()

    monkeypatch.setattr(_claims, "persist", twice)
    with claimed("work") as is_mine:
        assert is_mine
