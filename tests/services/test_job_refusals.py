"""Which refusals a job waits for, and which end it."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.exceptions import RateLimitedError, TransientError
from django_obc_ai.gateway import ratelimit
from django_obc_ai.models import AIOperation, Job, JobHold
from django_obc_ai.services.job_running import run_jobs
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai
from django_obc_ai.types import ProviderResponse, Usage
from tests.extras import requires
from tests.gateway.conftest import PRICES
from tests.services.test_job_running import kit, submit
from tests.services.ticket_runner import RUNNER

pytestmark = pytest.mark.django_db
SCRIPTED = "django_obc_ai.testing.ScriptedProvider"


@pytest.fixture(autouse=True)
def _fresh(tickets: list[Any]) -> None:
    """No ticket of another test."""


def due() -> None:
    Job.objects.filter(status="queued").update(due_at=timezone.now())
    JobHold.objects.all().delete()


def narrow(**others: Any) -> dict[str, Any]:
    """Limits into which 5000 letters never fit, and a short question does."""
    rates = {"per_minute": 100, "tokens_per_minute": 3000, "when_exceeded": "queue", **others}
    return {"RATE_LIMITS": {"default": rates}}


def test_a_job_that_never_fits_fails_and_holds_nobody_up() -> None:
    with kit("A", "B", **narrow()) as given:
        ask = {"use_cache": False, "max_output_tokens": 10}
        big = GeminiService().submit("x" * 5000, **ask)
        small = [GeminiService().submit(f"Q{number}", **ask) for number in range(2)]
        assert run_jobs() == 3
        for job in (big, *small):
            job.refresh()
    assert [job.status for job in (big, *small)] == ["failed", "succeeded", "succeeded"]
    assert big.result.error == "rate_limited"
    assert "Lower max_output_tokens" in big.result.error_message
    assert len(given.provider.requests) == 2


def test_a_question_that_never_fits_is_refused_and_not_queued() -> None:
    with kit("A", **narrow()):
        result = GeminiService().generate_text("x" * 5000, use_cache=False, max_output_tokens=10)
    assert isinstance(result.exception, RateLimitedError) and result.exception.is_final
    assert result.error == "rate_limited" and "Try later" not in result.error_message
    assert not Job.objects.exists()


def test_what_fits_later_is_not_refused_for_good() -> None:
    much = ProviderResponse(text="A", usage=Usage(input_tokens=2500, output_tokens=10), model="m")
    with kit(much, "B", **narrow(when_exceeded="refuse")):
        ask = {"use_cache": False, "max_output_tokens": 1500}
        found = [GeminiService().generate_text("Q", **ask) for _ in range(2)]
    refusal = found[1].exception
    assert isinstance(refusal, RateLimitedError) and refusal.reason == "tokens"
    assert not refusal.is_final


@pytest.mark.parametrize("never", ["default", "other"])
def test_what_never_fits_one_provider_waits_for_the_other(never: str) -> None:
    script = {"BACKEND": SCRIPTED, "OPTIONS": {"script": ["A"], "repeat_last": True}}
    limits = {"per_minute": 1, "when_exceeded": "queue"}
    rates = {"default": dict(limits), "other": dict(limits)}
    rates[never]["tokens_per_minute"] = 3000
    settings = {"RATE_LIMITS": rates, "FALLBACKS": {"default": ["other"]}}
    providers = {"default": script, "other": script}
    with kit_of(providers, **settings):
        ask = {"use_cache": False, "max_output_tokens": 10}
        assert GeminiService().generate_text("x" * 5000, **ask).text == "A"
        assert GeminiService().generate_text("x" * 5000, **ask).error == "queued"


def kit_of(providers: dict[str, Any], **settings: Any) -> override_ai:
    return override_ai(PROVIDERS=providers, PRICES=PRICES, TASK_RUNNERS=RUNNER, **settings)


def test_a_job_that_was_sent_before_it_was_refused_has_made_an_attempt() -> None:
    def fail(_: Any) -> Any:
        raise TransientError("500")

    limits = {"RATE_LIMITS": {"default": {"per_minute": 1, "when_exceeded": "queue"}}}
    retry = {"attempts": 3, "deadline_seconds": 20}
    with kit(*[fail] * 9, RETRY=retry, JOBS={"attempts": 2}, **limits) as given:
        (job,) = submit(1)
        now = ratelimit.time.time
        found = []
        for minute in range(1, 4):
            due()
            run_jobs()
            coordinators["default"].clock = lambda at=minute * 61: now() + at
            job.refresh()
            found.append((job.status, job.progress.attempts))
    assert found == [("queued", 1), ("failed", 2), ("failed", 2)]
    assert len(given.provider.requests) == 2 == AIOperation.objects.count()


@requires("redis")
def test_a_job_does_not_wait_for_limits_that_cannot_be_asked() -> None:
    away = {
        "default": {
            "BACKEND": "django_obc_ai.backends.coordinators.redis.RedisCoordinator",
            "OPTIONS": {"url": "redis://127.0.0.1:1/0"},  # nobody listens there
        }
    }
    with kit("A", COORDINATORS=away, RATE_LIMITS={"default": {"per_minute": 5}}):
        job = GeminiService().submit("Q", use_cache=False)
        run_jobs()
        job.refresh()
    assert (job.status, job.result and job.result.text) == ("succeeded", "A")
