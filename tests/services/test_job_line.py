"""The line before a provider: who waits as a job goes first, and who is held up by nobody."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_obc_ai.exceptions import JobQueuedError
from django_obc_ai.models import AIOperation, Job
from django_obc_ai.services import _job_line
from django_obc_ai.services.job_running import run_jobs
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai
from tests.gateway.conftest import PRICES, run_async
from tests.services.test_job_limits import due, limits
from tests.services.test_job_running import kit, submit
from tests.services.ticket_runner import RUNNER

pytestmark = pytest.mark.django_db
SECOND = datetime.timedelta(seconds=1)
MINUTE = 60 * SECOND
SCRIPTED = "django_obc_ai.testing.ScriptedProvider"


@pytest.fixture(autouse=True)
def _fresh(tickets: list[Any]) -> None:
    """No ticket of another test."""


def in_line(*, is_served: bool = True) -> None:
    """A job that waits for the limits a little longer, and one that ended a moment ago."""
    first, second = submit(2)
    Job.objects.filter(pk=first.id).update(due_at=timezone.now() + 5 * SECOND)
    at = timezone.now() - (SECOND if is_served else 2 * MINUTE)
    ended = {"status": "succeeded", "finished_at": at, "request": {}, "result": {}}
    Job.objects.filter(pk=second.id).update(**ended)


def test_nobody_overtakes_jobs_that_wait_for_the_same_limits() -> None:
    with kit("A", "B", **limits(per_minute=100)) as given:
        in_line()
        later = GeminiService().generate_text("Q", use_cache=False)
        assert later.error == "queued" and given.provider.requests == []
        assert isinstance(later.exception, JobQueuedError)
        job = Job.objects.get(pk=later.exception.job_id)
        first = Job.objects.exclude(pk=job.pk).get(status="queued")
        assert job.due_at == first.due_at and job.turn >= first.turn
        due()
        assert run_jobs() == 2  # in a job it gives way to nobody
        job.refresh_from_db()
        assert job.status == "succeeded"


@pytest.mark.django_db(transaction=True)
def test_the_async_twin_overtakes_nobody_either() -> None:
    with kit("A", **limits(per_minute=100)) as given:
        in_line()
        later = run_async(GeminiService().agenerate_text("Q", use_cache=False))
    assert later.error == "queued" and given.provider.requests == []


# Times are from the test on: in a long run this module is imported many minutes before.
NO_LINE: dict[str, dict[str, Any]] = {
    "no worker": {},
    "another action": {},
    "only put back": {"started_at": 0 * SECOND},
    "due in ten minutes": {"due_at": 10 * MINUTE},
    "scheduled": {"not_before": 5 * MINUTE},
    "overdue": {"deadline_at": -SECOND},
    "in nobody's hurry": {"priority": -1},
    "another provider": {"provider": "other"},
}


@pytest.mark.parametrize("why", NO_LINE)
def test_jobs_that_are_no_line_hold_nobody_up(why: str) -> None:
    action = "wait" if why == "another action" else "queue"
    with kit("A", **limits(action, per_minute=100)):
        in_line(is_served=why not in ("no worker", "only put back"))
        now = timezone.now()
        fields = {
            name: now + value if isinstance(value, datetime.timedelta) else value
            for name, value in NO_LINE[why].items()
        }
        Job.objects.filter(status="queued").update(**{"priority": 0, **fields})
        assert GeminiService().generate_text("Q", use_cache=False).text == "A"


def test_a_line_is_served_while_a_job_is_answered() -> None:
    with kit("A", **limits(per_minute=100)):
        in_line(is_served=False)
        running = {"status": "running", "result": None, "finished_at": None}
        at = timezone.now()
        rows = Job.objects.filter(status="succeeded")
        rows.update(**running, lease_until=at + MINUTE)
        assert GeminiService().generate_text("Q", use_cache=False).error == "queued"
        Job.objects.filter(status="running").update(lease_until=at)
        assert GeminiService().generate_text("Q", use_cache=False).text == "A"


def test_a_delay_is_no_line_until_it_is_over() -> None:
    with kit(**limits(per_minute=100)):
        job = GeminiService().submit("Q", delay_seconds=20)
        row = Job.objects.get(pk=job.id)
        assert row.not_before == row.due_at > row.created_at
        assert Job.objects.get(pk=GeminiService().submit("Q").id).not_before is None


@pytest.mark.parametrize("action", ["wait", "queue"])
def test_a_fallback_is_asked_while_jobs_wait_for_the_first(action: str) -> None:
    script = {"BACKEND": SCRIPTED, "OPTIONS": {"script": ["A"], "repeat_last": True}}
    rates = {"default": {"when_exceeded": "queue"}, "other": {"when_exceeded": action}}
    settings: dict[str, Any] = {"FALLBACKS": {"default": ["other"]}, "RATE_LIMITS": rates}
    settings |= {"TASK_RUNNERS": RUNNER, "PRICES": PRICES}
    with override_ai(PROVIDERS={"default": script, "other": script}, **settings):
        in_line()
        assert GeminiService().generate_text("Q", use_cache=False).text == "A"
    row = AIOperation.objects.get()
    assert (row.provider, row.fallback_from) == ("other", "default")


def test_who_has_to_wait_is_told_that_others_do() -> None:
    with kit("A", **limits(per_minute=100)):
        in_line()
        later = GeminiService().generate_text("Q", use_cache=False)
    assert later.error_message.startswith("Others wait for the provider 'default'")
    row = AIOperation.objects.get()
    assert row.error_message.startswith("Questions that were asked before wait as jobs")


def test_a_line_that_cannot_be_read_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("down")

    with kit("A", **limits(per_minute=100)):
        in_line()
        with transaction.atomic(), monkeypatch.context() as patched:
            patched.setattr(_job_line, "_is_served", away)
            assert GeminiService().generate_text("Q", use_cache=False).text == "A"
        assert Job.objects.exists()  # the caller's transaction is not broken
    assert "jobs.line_unread" in [getattr(each, "event", "") for each in caplog.records]


@pytest.mark.django_db(transaction=True)
def test_a_table_that_is_away_is_left_alone_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    now = [0.0]

    def away(provider: str, _: Any) -> None:
        asked.append(provider)
        raise OperationalError("down")

    monkeypatch.setattr(_job_line, "_clock", lambda: now[0])
    monkeypatch.setattr(_job_line, "_is_served", away)
    with kit(**limits(per_minute=100)):
        in_line()
        for seconds, times in ((0, 2), (0.5, 2), (1.5, 4)):  # two attempts each
            now[0] = seconds
            assert _job_line.line_of("default") is None and len(asked) == times
    _job_line._away_since.clear()


def test_a_stored_answer_waits_in_no_line() -> None:
    with kit("A", **limits(per_minute=100)) as given:
        assert GeminiService().generate_text("Q").text == "A"
        in_line()
        with CaptureQueriesContext(connection) as asked:
            again = GeminiService().generate_text("Q")
    assert not [each for each in asked.captured_queries if "obc_ai_job" in each["sql"]]
    assert again.cached and len(given.provider.requests) == 1
