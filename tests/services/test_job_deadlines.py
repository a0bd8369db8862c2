"""Calls that are cut by the deadline of their job: the job's matter, and not the provider's."""

from __future__ import annotations

import time
from typing import Any

import pytest

from django_obc_ai.backends.providers.deadlines import ending_within, is_over, shortened
from django_obc_ai.exceptions import ProviderTimeoutError, TransientError
from django_obc_ai.models import AIOperation, Job
from django_obc_ai.services.job_running import run_jobs
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai
from tests.gateway.conftest import PRICES
from tests.services.test_job_running import kit, submit
from tests.services.ticket_runner import RUNNER

pytestmark = pytest.mark.django_db
SCRIPTED = "django_obc_ai.testing.ScriptedProvider"
BREAKER = {"failures": 1, "open_seconds": 30}
RETRY = {"attempts": 3, "deadline_seconds": 20}


@pytest.fixture(autouse=True)
def _fresh(tickets: list[Any]) -> None:
    """No ticket of another test."""


def cut(_: Any) -> Any:
    """What a provider does whose answer does not come in the time that is left."""
    time.sleep(shortened(10))
    raise ProviderTimeoutError("Raise deadline_seconds.")


def test_a_call_that_its_jobs_deadline_cuts_says_nothing_of_the_provider() -> None:
    with kit(cut, "A", BREAKER=BREAKER, RETRY=RETRY) as given:
        (job,) = submit(1, deadline_seconds=0.5)
        run_jobs()
        job.refresh()
        assert (job.status, job.result.error) == ("failed", "deadline")
        assert "submit()" in job.result.error_message
        assert GeminiService().generate_text("Q", use_cache=False).text == "A"
    assert len(given.provider.requests) == 2
    row = AIOperation.objects.get(error_category="deadline")
    assert row.cost_usd > 0 and Job.objects.get().error_category == "deadline"


def test_no_other_provider_is_asked_when_the_jobs_time_is_over() -> None:
    providers = {
        alias: {"BACKEND": SCRIPTED, "OPTIONS": {"script": [answer]}}
        for alias, answer in (("default", cut), ("other", "B"))
    }
    others = {"FALLBACKS": {"default": ["other"]}, "TASK_RUNNERS": RUNNER, "PRICES": PRICES}
    with override_ai(PROVIDERS=providers, RETRY=RETRY, **others):
        (job,) = submit(1, deadline_seconds=0.5)
        run_jobs()
        job.refresh()
    assert job.result.error == "deadline"


def test_a_timeout_with_time_left_is_the_providers() -> None:
    def late(_: Any) -> Any:
        raise ProviderTimeoutError("It could not be reached within timeout_seconds.")

    retry = {"attempts": 1, "deadline_seconds": 20}
    with kit(late, "A", BREAKER=BREAKER, RETRY=retry):
        (job,) = submit(1, deadline_seconds=60)
        run_jobs()
        job.refresh()
        assert job.result.error == "timeout"
        assert GeminiService().generate_text("Q", use_cache=False).error == "transient"


def test_with_no_time_left_nothing_is_sent() -> None:
    with kit("A") as given, ending_within(0.05):
        result = GeminiService().generate_text("Q", use_cache=False)
    assert result.error == "deadline" and given.provider.requests == []


def test_no_attempt_follows_when_the_time_is_over() -> None:
    def fail(_: Any) -> Any:
        time.sleep(shortened(10))
        raise TransientError("500")

    with kit(fail, "A", RETRY=RETRY) as given:
        (job,) = submit(1, deadline_seconds=0.5)
        run_jobs()
        job.refresh()
    assert job.result.error == "transient" and len(given.provider.requests) == 1


def test_the_time_is_over_only_where_there_is_one() -> None:
    assert not is_over()
    with ending_within(None):
        assert not is_over()
    with ending_within(60):
        assert not is_over()
    with ending_within(0):
        assert is_over()
