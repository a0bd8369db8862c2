"""Tickets: one on its way is enough, and none that is needed is missing."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.utils import timezone

from django_obc_ai.exceptions import TaskRunnerError
from django_obc_ai.models import Job, TaskState
from django_obc_ai.services import _tickets
from django_obc_ai.services.job_running import recover_jobs, run_jobs
from django_obc_ai.services.text import GeminiService
from tests.services.test_job_running import kit, submit
from tests.services.ticket_runner import TICKET, TicketRunner

pytestmark = pytest.mark.django_db
SECOND = datetime.timedelta(seconds=1)


@pytest.fixture(autouse=True)
def _fresh(tickets: list[Any]) -> None:
    """No ticket of another test."""


def delays(tickets: list[Any]) -> list[int]:
    return [round(delay) for _, _, delay, _ in tickets]


def test_many_questions_send_one_ticket_and_many_workers_one_more_each(tickets: list[Any]) -> None:
    """A line of them would keep every other task waiting, for as long as there are jobs."""
    with kit(*"A" * 40, JOBS={"slice_seconds": 1e-9}):
        submit(30)
        assert tickets == [TICKET]
        for number in range(30):
            assert tickets.pop() == TICKET
            assert run_jobs() == 1
            assert tickets == [TICKET] * (number < 29)


def test_a_job_that_comes_while_a_ticket_is_taken_sends_another(tickets: list[Any]) -> None:
    with kit("A", "B"):
        submit(1)
        tickets.clear()
        _tickets.take(is_delayed=False)
        submit(1)
    assert tickets == [TICKET]


def test_a_ticket_that_was_lost_is_sent_again(tickets: list[Any]) -> None:
    with kit("A", "B"):
        submit(1)
        tickets.clear()  # the broker forgot it
        recover_jobs()
        assert tickets == []
        TaskState.objects.update(started_at=timezone.now() - _tickets.LOST_AFTER - SECOND)
        recover_jobs()
        assert tickets == [TICKET]
        tickets.clear()
        TaskState.objects.update(started_at=timezone.now() + datetime.timedelta(hours=1))
        submit(1)  # of a clock that was wrong
        assert tickets == [TICKET]


def test_a_broker_that_is_down_is_told_though_a_ticket_is_on_its_way(tickets: list[Any]) -> None:
    with kit():
        submit(1)
        TicketRunner.is_down = True
        for delay in (0, 60):
            with pytest.raises(TaskRunnerError):
                GeminiService().submit("Q", delay_seconds=delay)
        assert Job.objects.count() == 1


def test_a_ticket_that_was_not_taken_is_not_on_its_way(tickets: list[Any]) -> None:
    with kit():
        TicketRunner.is_down = True
        with pytest.raises(TaskRunnerError):
            GeminiService().submit("Q")
        with pytest.raises(TaskRunnerError):
            GeminiService().submit("Q", delay_seconds=60)
        TicketRunner.is_down = False
        submit(1)
        submit(1, delay_seconds=60)
    assert delays(tickets) == [0, 60]


def test_for_later_one_ticket_comes_with_the_first_that_is_due(tickets: list[Any]) -> None:
    with kit("A", "B", "C"):
        for delay in (100, 200, 50, 60):
            submit(1, delay_seconds=delay)
        assert delays(tickets) == [100, 50]
        assert [run_jobs(), run_jobs()] == [0, 0]
        assert delays(tickets) == [100, 50]
        tickets.clear()
        Job.objects.filter(due_at__lt=timezone.now() + 55 * SECOND).update(due_at=timezone.now())
        assert run_jobs(is_delayed=True) == 1
        assert delays(tickets) == [60]


def test_a_ticket_for_much_later_is_sent_in_parts(tickets: list[Any]) -> None:
    with kit("A"):
        submit(1, delay_seconds=86_400)
        assert delays(tickets) == [600]
        assert run_jobs(is_delayed=True) == 0
        assert delays(tickets) == [600, 600]
