"""What is refused for now waits as a job, in its place, and is answered later."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.exceptions import (
    BudgetExceededError,
    CostStoreError,
    JobQueuedError,
    QuotaExhaustedError,
    RateLimitedError,
)
from django_obc_ai.gateway import budget, pauses, ratelimit
from django_obc_ai.models import AIOperation, Job, JobHold
from django_obc_ai.services.chat import ChatService
from django_obc_ai.services.job_running import run_jobs
from django_obc_ai.services.pauses import pause_provider, resume_provider
from django_obc_ai.services.text import GeminiService
from tests.gateway.conftest import run_async
from tests.services.test_job_running import kit, submit
from tests.services.ticket_runner import TicketRunner

pytestmark = pytest.mark.django_db
SECOND = datetime.timedelta(seconds=1)
MINUTE = 60 * SECOND


@pytest.fixture(autouse=True)
def _fresh(tickets: list[Any]) -> None:
    """No ticket and no pause of another test."""


def due() -> None:
    Job.objects.filter(status="queued").update(due_at=timezone.now())
    JobHold.objects.all().delete()


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
        assert JobHold.objects.get().until > before + 30 * SECOND
        assert run_jobs() == 0
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


def test_a_worker_does_not_wait_for_a_limit_the_job_does(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("django_obc_ai.gateway.call._sleep", waits.append)
    with kit("A", "B", RETRY={"attempts": 3, "deadline_seconds": 600}, **limits("wait")) as given:
        submit(3)
        assert run_jobs() == 3
        (left,) = Job.objects.filter(status="queued")
    assert waits == [] and len(given.provider.requests) == 2
    assert left.attempts == 0


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
        with pytest.raises(RateLimitedError):
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


def test_in_a_transaction_a_refused_question_is_queued_with_it() -> None:
    with kit("A", "B", **limits()):
        for _ in range(2):
            GeminiService().generate_text("Q", use_cache=False)
        with transaction.atomic():
            assert GeminiService().generate_text("Q", use_cache=False).error == "queued"
            transaction.set_rollback(True)
    assert not Job.objects.exists()
