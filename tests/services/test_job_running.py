"""Workers: what a job's call comes to, and which tickets they send."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from django_obc_ai.backends.providers._network import Deadline
from django_obc_ai.backends.providers.deadlines import ending_within, shortened
from django_obc_ai.exceptions import (
    TransientError,
)
from django_obc_ai.logs import correlation
from django_obc_ai.models import AIOperation, Job, TaskState
from django_obc_ai.services import _job_queue, tasks
from django_obc_ai.services.job_running import recover_jobs, run_jobs
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai
from tests.gateway.conftest import PRICES
from tests.services.ticket_runner import RUNNER, TICKET, TicketRunner

pytestmark = pytest.mark.django_db
SECOND = datetime.timedelta(seconds=1)
MINUTE = 60 * SECOND


@pytest.fixture(autouse=True)
def _fresh(tickets: list[Any]) -> None:
    """No ticket and no pause of another test."""


def kit(*script: Any, **settings: Any) -> override_ai:
    return override_ai(list(script), **{"TASK_RUNNERS": RUNNER, "PRICES": PRICES, **settings})


def submit(count: int, **arguments: Any) -> list[Any]:
    arguments = {"use_cache": False, **arguments}
    return [GeminiService().submit(f"Q{number}", **arguments) for number in range(count)]


def test_a_call_gets_no_more_time_than_its_job_has() -> None:
    seen: list[float] = []

    def answer(_: Any) -> Any:
        seen.append(shortened(1000.0))
        raise TransientError("Again.", retry_after_seconds=60)

    with kit(answer, "A", RETRY={"attempts": 3, "deadline_seconds": 1000}) as given:
        (job,) = submit(1, deadline_seconds=30)
        run_jobs()
        job.refresh()
    assert job.status == "failed" and len(given.provider.requests) == 1
    assert 0 < seen[0] <= 30 and shortened(1000.0) == 1000.0


def test_every_request_of_a_provider_ends_by_the_jobs_deadline() -> None:
    with ending_within(0.5):
        assert Deadline(60).remaining_seconds <= 0.5
    with ending_within(None):
        assert Deadline(60).remaining_seconds > 1


def test_a_worker_works_for_its_slice_and_one_ticket_is_on_its_way_for_the_rest(
    tickets: list[Any],
) -> None:
    with kit("A", "B", "C", JOBS={"slice_seconds": 1e-9}):
        submit(3)
        tickets.clear()
        assert run_jobs() == 1
        assert tickets == [TICKET]  # sent at the beginning, for whoever is idle
        tickets.clear()
        assert [run_jobs(), run_jobs()] == [1, 1]
        assert tickets == [TICKET]  # of the second; the last one leaves nothing


def test_a_broker_that_is_down_stops_no_worker() -> None:
    with kit("A", "B"):
        submit(2)
        TicketRunner.is_down = True
        assert run_jobs() == 2


def test_the_schedule_takes_up_ends_deletes_and_tells(tickets: list[Any]) -> None:
    with kit("A"):
        taken_up, late, old, _ = submit(4)
        Job.objects.filter(pk=taken_up.id).update(status="running", lease_until=timezone.now())
        Job.objects.filter(pk=late.id).update(deadline_at=timezone.now())
        old.cancel()
        Job.objects.filter(pk=old.id).update(expires_at=timezone.now())
        tickets.clear()
        TaskState.objects.all().delete()  # as if it had been lost
        tasks.run("recover_jobs", {})
        assert tickets == [("generate_text", {}, 0.0, 0)]
        taken_up.refresh()
        late.refresh()
    assert (taken_up.status, late.status) == ("queued", "failed")
    assert not Job.objects.filter(pk=old.id).exists()


def test_the_schedule_sends_nothing_where_nothing_is_due(tickets: list[Any]) -> None:
    with kit():
        submit(1, delay_seconds=100)
        tickets.clear()
        recover_jobs()
    assert not tickets


def test_an_idle_worker_takes_up_what_a_dead_one_left() -> None:
    with kit("A"):
        (job,) = submit(1)
        dead = _job_queue.claim()
        assert dead is not None
        Job.objects.update(lease_until=timezone.now())
        assert run_jobs() == 1
        job.refresh()
        assert (job.status, job.progress.attempts) == ("succeeded", 2)


def test_what_stops_a_worker_leaves_its_job_to_others() -> None:
    with kit(KeyboardInterrupt(), "A"):
        (job,) = submit(1)
        with pytest.raises(KeyboardInterrupt):
            run_jobs()
        job.refresh()
        assert (job.status, job.progress.attempts) == ("queued", 1)
        run_jobs()
        job.refresh()
        assert job.status == "succeeded"
    assert AIOperation.objects.count() == 2  # both are booked


def test_an_answer_that_the_database_refuses_is_not_paid_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = _job_queue.finish

    def finish(job: Job, result: Any, **values: Any) -> bool:
        if result is not None:
            raise ValueError("no form in this database")
        return real(job, result, **values)

    monkeypatch.setattr(_job_queue, "finish", finish)
    with kit("A") as given:
        (job,) = submit(1)
        run_jobs()
        job.refresh()
        assert job.status == "failed" and job.result and job.result.error == "bad_response"
        assert run_jobs() == 0 and len(given.provider.requests) == 1


def test_a_database_that_fails_at_the_end_leaves_the_job_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def finish(*_: Any, **__: Any) -> bool:
        raise DatabaseError("away")

    with kit("A", "B"):
        (job,) = submit(1)
        with monkeypatch.context() as patched:
            patched.setattr(_job_queue, "finish", finish)
            with pytest.raises(DatabaseError):
                run_jobs()
        run_jobs()
        job.refresh()
        assert (job.status, job.progress.attempts) == ("succeeded", 2)


def test_the_call_is_logged_under_the_id_of_who_asked() -> None:
    seen: list[str] = []

    def answer(_: Any) -> str:
        seen.append(correlation.current())
        return "A"

    with kit(answer):
        with correlation.bound("req-7"):
            submit(1)
        run_jobs()
    assert seen == ["req-7"]


def test_an_answer_of_the_cache_costs_nothing_and_is_an_answer() -> None:
    with kit("A") as given:
        GeminiService().generate_text("Q")
        job = GeminiService().submit("Q")
        run_jobs()
        job.refresh()
        assert job.result is not None and (job.result.text, job.result.cached) == ("A", True)
    assert len(given.provider.requests) == 1
