"""Workers: what a job's call comes to, and which tickets they send."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.providers._network import Deadline
from django_obc_ai.backends.providers.deadlines import ending_within, shortened
from django_obc_ai.exceptions import (
    BudgetExceededError,
    CostStoreError,
    JobQueuedError,
    QuotaExhaustedError,
    TransientError,
)
from django_obc_ai.gateway import budget, pauses, ratelimit
from django_obc_ai.logs import correlation
from django_obc_ai.models import AIOperation, Job
from django_obc_ai.services import _job_queue, job_running, tasks
from django_obc_ai.services.chat import ChatService
from django_obc_ai.services.job_running import recover_jobs, run_jobs
from django_obc_ai.services.pauses import pause_provider, resume_provider
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai
from tests.gateway.conftest import PRICES, run_async
from tests.services.ticket_runner import RUNNER, TicketRunner

pytestmark = pytest.mark.django_db
SECOND = datetime.timedelta(seconds=1)
MINUTE = 60 * SECOND


@pytest.fixture(autouse=True)
def tickets() -> Iterator[list[Any]]:
    TicketRunner.tickets.clear()
    job_running._ticket_at.clear()
    ratelimit._away.clear()
    yield TicketRunner.tickets
    TicketRunner.is_down = False


def kit(*script: Any, **settings: Any) -> override_ai:
    return override_ai(list(script), **{"TASK_RUNNERS": RUNNER, "PRICES": PRICES, **settings})


def submit(count: int, **arguments: Any) -> list[Any]:
    arguments = {"use_cache": False, **arguments}
    return [GeminiService().submit(f"Q{number}", **arguments) for number in range(count)]


def due() -> None:
    Job.objects.filter(status="queued").update(due_at=timezone.now())


def limits(action: str = "queue", per_minute: int = 2) -> dict[str, Any]:
    return {"RATE_LIMITS": {"default": {"per_minute": per_minute, "when_exceeded": action}}}


@pytest.mark.parametrize("action", ["wait", "refuse", "queue"])
def test_what_the_limits_refuse_waits_in_its_place_with_all_the_others(action: str) -> None:
    retry = {"attempts": 3, "deadline_seconds": 0.01}
    with kit(*"ABCDE", RETRY=retry, **limits(action)) as given:
        jobs = submit(5)
        before = timezone.now()
        assert run_jobs() == 3
        assert len(given.provider.requests) == 2
        waiting = Job.objects.filter(status="queued")
        assert waiting.count() == 3 and set(waiting.values_list("attempts", flat=True)) == {0}
        first = waiting.order_by("due_at").first()
        assert first is not None and first.due_at > before + 30 * SECOND
        assert AIOperation.objects.filter(error_category="rate_limited").count() == 1
        now = ratelimit.time.time
        for minutes in (1, 2):
            coordinators["default"].clock = lambda at=minutes * 61: now() + at
            due()
            run_jobs()
        for job in jobs:
            job.refresh()
    assert [job.status for job in jobs] == ["succeeded"] * 5
    assert [request.prompt for request in given.provider.requests] == [f"Q{n}" for n in range(5)]


def test_beyond_the_limits_a_question_becomes_a_job_and_is_answered_later() -> None:
    with kit("A", "B", "C", **limits()) as given:
        ask = [GeminiService().generate_text(f"Q{n}", use_cache=False) for n in range(3)]
        assert [result.error for result in ask] == [None, None, "queued"]
        late = ask[2]
        assert not late.success and isinstance(late.exception, JobQueuedError)
        with pytest.raises(JobQueuedError) as raised:
            late.raise_for_error()
        job = GeminiService().job(raised.value.job_id)  # type: ignore[arg-type]
        assert job.status == "queued" and job.progress.due_at is not None
        assert late.operation_id in set(AIOperation.objects.values_list("pk", flat=True))
        coordinators["default"].clock = lambda now=ratelimit.time.time: now() + 61
        due()
        run_jobs()
        job.refresh()
        assert job.result is not None and job.result.text == "C"
    assert len(given.provider.requests) == 3


@pytest.mark.django_db(transaction=True)
def test_the_async_twin_queues_too() -> None:
    with kit("A", "B", **limits()):
        for _ in range(2):
            GeminiService().generate_text("Q", use_cache=False)
        late = run_async(GeminiService().agenerate_text("Q", use_cache=False))
    assert late.error == "queued" and Job.objects.count() == 1


def test_a_question_that_cannot_be_queued_says_why() -> None:
    with kit("A", "B", JOBS={"most_waiting": 1}, **limits()):
        for _ in range(2):
            GeminiService().generate_text("Q", use_cache=False)
        TicketRunner.is_down = True
        assert GeminiService().generate_text("Q", use_cache=False).error == "transient"
        assert not Job.objects.exists()
        TicketRunner.is_down = False
        found = [GeminiService().generate_text("Q", use_cache=False) for _ in range(2)]
    assert [result.error for result in found] == ["queued", "queue_full"]


def test_streams_and_chat_are_refused_and_never_queued() -> None:
    with kit("A", "B", **limits()):
        for _ in range(2):
            GeminiService().generate_text("Q", use_cache=False)
        stream = GeminiService().stream_text("Q", use_cache=False)
        with pytest.raises(ratelimit.RateLimitedError):
            list(stream)
        assert ChatService().send("Where?", user=None).error == "rate_limited"
    assert not Job.objects.exists()


def test_a_paused_provider_is_asked_again_when_it_is_resumed() -> None:
    with kit("A") as given:
        (job,) = submit(1)
        pause_provider("default", reason="r", until=timezone.now() + 600 * MINUTE)
        run_jobs()
        job.refresh()
        assert (job.status, job.progress.attempts) == ("queued", 0)
        assert job.progress.due_at < timezone.now() + MINUTE  # somebody may resume it
        resume_provider("default")
        pauses.forget()
        due()
        run_jobs()
        job.refresh()
        assert job.status == "succeeded" and len(given.provider.requests) == 1


def test_a_cost_store_that_is_away_fails_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise CostStoreError("Away.", retry_after_seconds=90)

    with kit("A", RETRY={"attempts": 1, "deadline_seconds": 1}):
        (job,) = submit(1)
        with monkeypatch.context() as patched:
            patched.setattr(budget, "reserve", away)
            run_jobs()
        job.refresh()
        assert job.status == "queued" and job.progress.due_at > timezone.now() + MINUTE
        due()
        run_jobs()
        job.refresh()
        assert job.status == "succeeded"


def test_a_budget_that_is_used_up_fails_the_job() -> None:
    with kit("A", BUDGETS=[{"scope": "global", "period": "day", "limit_usd": "0"}]) as given:
        (job,) = submit(1)
        run_jobs()
        job.refresh()
        assert job.result is not None and job.result.error == "budget_exceeded"
        with pytest.raises(BudgetExceededError):
            job.result.raise_for_error()
    assert not given.provider.requests and Job.objects.get().error_category == "budget_exceeded"


def test_a_provider_that_goes_on_saying_it_is_too_much_fails_the_job_at_last() -> None:
    refusals = [QuotaExhaustedError("For ever.") for _ in range(2)]
    breaker = {"failures": None, "open_seconds": 1}
    with kit(*refusals, JOBS={"attempts": 2}, BREAKER=breaker, RATE_LIMITS={}) as given:
        (job,) = submit(1)
        run_jobs()
        job.refresh()
        assert (job.status, job.progress.attempts) == ("queued", 1)
        coordinators["default"].clock = lambda now=ratelimit.time.time: now() + 90_000
        due()
        run_jobs()
        job.refresh()
        assert job.status == "failed" and job.result is not None
        assert job.result.error == "quota_exhausted"
    assert len(given.provider.requests) == 2


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


def test_a_worker_works_for_its_slice_and_sends_a_ticket_for_the_rest(tickets: list[Any]) -> None:
    with kit("A", "B", "C", JOBS={"slice_seconds": 1e-9}):
        submit(3)
        tickets.clear()
        assert run_jobs() == 1
        # One at the beginning, for whoever is idle, and one at the end of the slice.
        assert tickets == [("generate_text", {}, 0.0, 0)] * 2
        tickets.clear()
        assert [run_jobs(), run_jobs()] == [1, 1]
        assert len(tickets) == 2  # of the second; the last one leaves nothing


def test_what_is_due_later_has_one_ticket_of_a_process_that_comes_then(tickets: list[Any]) -> None:
    with kit():
        submit(2, delay_seconds=100)
        tickets.clear()
        assert [run_jobs(), run_jobs(), run_jobs()] == [0, 0, 0]
    ((_, _, delay, _),) = tickets
    assert 90 < delay <= 100


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


def test_in_a_transaction_a_refused_question_is_queued_with_it() -> None:
    with kit("A", "B", **limits()):
        for _ in range(2):
            GeminiService().generate_text("Q", use_cache=False)
        with transaction.atomic():
            assert GeminiService().generate_text("Q", use_cache=False).error == "queued"
            transaction.set_rollback(True)
    assert not Job.objects.exists()


def test_an_answer_of_the_cache_costs_nothing_and_is_an_answer() -> None:
    with kit("A") as given:
        GeminiService().generate_text("Q")
        job = GeminiService().submit("Q")
        run_jobs()
        job.refresh()
        assert job.result is not None and (job.result.text, job.result.cached) == ("A", True)
    assert len(given.provider.requests) == 1
