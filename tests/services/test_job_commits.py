"""Jobs and transactions: a job is there when what it belongs to is, and its ticket comes after."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from django_obc_ai.exceptions import UnknownJobError
from django_obc_ai.models import Job
from django_obc_ai.services import jobs
from django_obc_ai.services.job_running import run_jobs
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai
from tests.gateway.conftest import run_async
from tests.services.ticket_runner import RUNNER, TICKET, TicketRunner

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_ticket_follows_the_commit(tickets: list[Any]) -> None:
    with override_ai(["A"], TASK_RUNNERS=RUNNER):
        with transaction.atomic():
            job = GeminiService().submit("Q")
            assert not tickets
        assert tickets == [TICKET]
        run_jobs()
        job.refresh()
        assert job.status == "succeeded"


def test_a_rollback_takes_the_job_along(tickets: list[Any]) -> None:
    with override_ai([], TASK_RUNNERS=RUNNER):
        with transaction.atomic():
            job = GeminiService().submit("Q")
            transaction.set_rollback(True)
        assert not tickets
        with pytest.raises(UnknownJobError):
            job.refresh()


def test_who_would_wait_for_the_own_commit_is_told(tickets: list[Any]) -> None:
    with override_ai(["A"], TASK_RUNNERS=RUNNER):
        with transaction.atomic():
            job = GeminiService().submit("Q")
            with pytest.raises(RuntimeError, match="transaction"):
                job.wait()
            assert not job.wait(0.01)
        run_jobs()
        with transaction.atomic():
            assert job.wait()


def test_without_a_broker_it_is_answered_after_the_commit() -> None:
    with override_ai(["A"]) as kit:
        with transaction.atomic():
            job = GeminiService().submit("Q")
            assert (job.status, kit.provider.requests) == ("queued", [])
        job.refresh()
        assert job.status == "succeeded"


def test_a_ticket_that_fails_after_the_commit_leaves_the_job(
    tickets: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with override_ai([], TASK_RUNNERS=RUNNER):
        with transaction.atomic():
            job = GeminiService().submit("Q")
            TicketRunner.is_down = True
        job.refresh()
        assert job.status == "queued"
    assert "jobs.no_ticket" in [getattr(each, "event", "") for each in caplog.records]


def test_without_autocommit_the_schedule_sends_the_ticket(tickets: list[Any]) -> None:
    with override_ai([], TASK_RUNNERS=RUNNER):
        transaction.set_autocommit(False)
        try:
            GeminiService().submit("Q")
            connection.commit()
        finally:
            transaction.set_autocommit(True)
        assert Job.objects.filter(status="queued").exists() and not tickets


def test_the_async_twins_do_the_same(tickets: list[Any]) -> None:
    async def whole() -> list[Any]:
        job = await GeminiService().asubmit("Q")
        assert not await job.await_(0)
        again = await GeminiService().ajob(job.id)
        cancelled = await again.acancel()
        await job.arefresh()
        return [cancelled, job.status, await job.await_()]

    with override_ai([], TASK_RUNNERS=RUNNER):
        assert run_async(whole()) == [True, "cancelled", True]


def test_without_a_broker_an_async_job_is_answered_at_once() -> None:
    async def whole() -> jobs.JobHandle:
        return await GeminiService().asubmit("Q")

    with override_ai(["A"]):
        assert run_async(whole()).status == "succeeded"
