"""Faults around a job, which cannot be made, read or run; they stop neither caller nor worker."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, transaction
from django.utils import timezone

from django_obc_ai.exceptions import ConfigurationError, RateLimitedError
from django_obc_ai.models import Job
from django_obc_ai.services import _job_line, _job_queue
from django_obc_ai.services.job_running import run_jobs
from django_obc_ai.services.text import GeminiService
from tests.services.test_job_limits import limits
from tests.services.test_job_running import kit, submit
from tests.services.ticket_runner import TicketRunner

pytestmark = pytest.mark.django_db
NO_RUNNER = {"TASK_RUNNERS": {"default": {"BACKEND": "nowhere.Runner"}}}


@pytest.fixture(autouse=True)
def _fresh(tickets: list[Any]) -> None:
    """No ticket of another test."""


def events_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(each, "event", "") for each in caplog.records]


def refused(**arguments: Any) -> Any:
    """The second question, where the limits allow one."""
    found = [GeminiService().generate_text("Q", use_cache=False, **arguments) for _ in range(2)]
    assert found[0].text == "A"
    return found[1]


def test_a_runner_that_cannot_be_made_leaves_no_job() -> None:
    with kit("A", **NO_RUNNER), pytest.raises(ConfigurationError):
        GeminiService().submit("Q")
    assert not Job.objects.exists()


def test_a_runner_that_finds_its_settings_wrong_only_when_it_sends_leaves_no_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(*_: Any, **__: Any) -> None:
        raise ConfigurationError("There is no such app.")

    monkeypatch.setattr(TicketRunner, "_send", wrong)
    with kit("A"), pytest.raises(ConfigurationError):
        GeminiService().submit("Q")
    assert not Job.objects.exists()


def test_a_question_is_refused_where_no_runner_can_be_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with kit("A", **NO_RUNNER, **limits(per_minute=1)):
        result = refused()
    assert isinstance(result.exception, RateLimitedError) and not Job.objects.exists()
    assert "jobs.not_queued" in events_of(caplog)


@pytest.mark.parametrize(
    "arguments",
    [{"temperature": Decimal("0.5")}, {"response_schema": {"enum": {"a"}}}],
    ids=["temperature", "schema"],
)
def test_a_question_that_is_no_json_is_refused_and_not_queued(arguments: dict[str, Any]) -> None:
    answer = "A" if "temperature" in arguments else '"A"'
    with kit(answer, **limits(per_minute=1)):
        GeminiService().generate_text("Q", use_cache=False, **arguments)
        result = GeminiService().generate_text("Q", use_cache=False, **arguments)
    assert isinstance(result.exception, RateLimitedError) and not Job.objects.exists()


def test_a_question_is_refused_where_it_cannot_be_stored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> int:
        with transaction.atomic():
            raise OperationalError("down")

    monkeypatch.setattr(_job_queue, "turn_for", away)
    with kit("A", **limits(per_minute=1)):
        assert isinstance(refused().exception, RateLimitedError)
    assert "jobs.not_queued" in events_of(caplog)


@pytest.mark.django_db(transaction=True)
def test_a_fault_while_a_question_is_stored_breaks_no_transaction_of_the_callers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: Any) -> int:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")
        return 0

    with kit("A", "B", **limits(per_minute=1)):
        GeminiService().generate_text("Q", use_cache=False)
        monkeypatch.setattr(_job_queue, "turn_for", broken)
        with transaction.atomic():
            result = GeminiService().generate_text("Q", use_cache=False)
            assert not Job.objects.exists()  # the transaction goes on
    assert isinstance(result.exception, RateLimitedError)


@pytest.mark.django_db(transaction=True)
def test_after_a_fault_no_question_waits_for_the_table_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def away(job: Any) -> int:
        asked.append(job)
        raise OperationalError("down")

    monkeypatch.setattr(_job_queue, "turn_for", away)
    monkeypatch.setattr(_job_line, "_clock", lambda: 0.0)
    with kit("A", **limits(per_minute=1)):
        assert refused().error == "rate_limited" and len(asked) == 1
        again = GeminiService().generate_text("Q", use_cache=False)
        assert again.error == "rate_limited" and len(asked) == 1
    _job_line._away_since.clear()


@pytest.mark.parametrize("name", ["delay_seconds", "deadline_seconds"])
@pytest.mark.parametrize("value", [1e12, float("inf"), float("nan"), -1])
def test_a_time_that_no_clock_shows_is_a_mistake(name: str, value: float) -> None:
    with kit(), pytest.raises(ValueError, match=name):
        GeminiService().submit("Q", **{name: value})
    assert not Job.objects.exists()


def test_a_job_that_cannot_be_read_stops_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    with kit("A"):
        odd, good = submit(2)
        Job.objects.filter(pk=odd.id).update(request={"prompt": "secret", "info": {}})
        assert run_jobs() == 4  # three attempts at one, and the other
        odd.refresh()
        good.refresh()
    assert (odd.status, good.status) == ("failed", "succeeded")
    assert odd.result.error == "abandoned"
    records = [each for each in caplog.records if getattr(each, "event", "") == "jobs.run_failed"]
    assert len(records) == 3 and "secret" not in records[0].getMessage()
    assert (records[0].job_id, records[0].error_type) == (odd.id, "KeyError")  # type: ignore[attr-defined]


def test_a_backend_that_fails_oddly_stops_no_worker() -> None:
    with kit(AssertionError("of an SDK"), "A", "B"):
        jobs = submit(2)
        assert run_jobs() == 3
        for job in jobs:
            job.refresh()
    assert [job.status for job in jobs] == ["succeeded"] * 2


class SoftTimeLimitExceeded(Exception):
    """As Celery's own is called."""


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded(), DatabaseError("away")])
def test_what_stops_the_worker_itself_stops_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise error

    with kit("A", "B"):
        (job, _) = submit(2)
        with monkeypatch.context() as patched:
            patched.setattr(_job_queue, "finish", stop)
            with pytest.raises(type(error)):
                run_jobs()
        job.refresh()
    assert job.status == "queued" and Job.objects.filter(due_at__lte=timezone.now()).count() == 2
