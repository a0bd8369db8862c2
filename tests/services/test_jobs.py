"""Answers in the background: what is handed over is answered, and anybody may ask for it."""

from __future__ import annotations

import datetime
import json
import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.utils import timezone

from django_obc_ai.exceptions import (
    InvalidRequestError,
    JobCancelledError,
    JobDeadlineError,
    JobsFullError,
    TaskRunnerError,
    UnknownJobError,
)
from django_obc_ai.models import AIOperation, Job
from django_obc_ai.services import jobs
from django_obc_ai.services.job_running import run_jobs
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai
from django_obc_ai.types import Message, Source
from tests.services.ticket_runner import RUNNER, TICKET, TicketRunner

pytestmark = pytest.mark.django_db


def test_without_a_broker_a_job_is_answered_at_once() -> None:
    with override_ai(["forty-two"]) as kit:
        job = GeminiService().submit("What is it?")
    assert (job.status, job.is_ended) == ("succeeded", True)
    assert job.result is not None and job.result.text == "forty-two"
    assert len(kit.provider.requests) == 1
    assert GeminiService().job(job.id).result == job.result
    row = Job.objects.get()
    operation = AIOperation.objects.get()
    assert row.operation_id == operation.pk == job.result.operation_id
    assert (row.request, row.attempts, row.owner) == ({}, 1, "")


def test_every_argument_of_generate_text_reaches_the_call(tickets: list[Any]) -> None:
    user = get_user_model().objects.create(username="amina")
    arguments: dict[str, Any] = {
        "user": user, "scope": "s", "cache_tags": ["t"], "system_context": "Be brief.",
        "operation_type": "analysis", "module": "mana", "content_type": "analysis",
        "cache_ttl": 7, "varies_by_user": True, "prompt_version": "v1",
        "response_schema": {"type": "object", "properties": {"b": {}, "a": {}}},
        "sources": [Source(text="S", title="T")], "history": [Message(role="user", text="H")],
        "max_output_tokens": 9, "temperature": 0.5,
    }  # fmt: skip
    with override_ai(['{"a": 1}', '{"a": 1}'], TASK_RUNNERS=RUNNER) as kit:
        GeminiService().generate_text("Q", **{**arguments, "use_cache": False})
        job = GeminiService().submit("Q", **{**arguments, "use_cache": False})
        assert job.user_id == user.pk
        run_jobs()
    direct, background = kit.provider.requests
    assert direct == background
    assert json.dumps(direct.response_schema) == json.dumps(background.response_schema)
    one, other = (
        {**row, "id": 0, "created_at": 0, "recorded_at": 0, "response_time_ms": 0}
        for row in AIOperation.objects.values()
    )
    assert one == other


@pytest.mark.parametrize("user", [None, AnonymousUser()])
def test_a_job_may_be_nobodys(user: Any) -> None:
    with override_ai(["A"]):
        job = GeminiService().submit("Q", user=user)
    assert (job.status, job.user_id) == ("succeeded", None)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"no_such": 1}, TypeError),
        ({"max_output_tokens": 0}, ValueError),
        ({"module": "m" * 51}, ValueError),
        ({"user": 7}, TypeError),
        ({"temperature": object()}, TypeError),
        ({"response_schema": {1: 2}}, TypeError),
        ({"response_schema": {"a": float("nan")}}, TypeError),
        ({"history": ["said"]}, TypeError),
        ({"priority": 40_000}, ValueError),
        ({"priority": 0.5}, ValueError),
        ({"deadline_seconds": 0}, ValueError),
        ({"delay_seconds": -1}, ValueError),
        ({"delay_seconds": float("nan")}, ValueError),
    ],
)
def test_a_wrong_argument_raises_at_once_and_stores_nothing(
    tickets: list[Any], arguments: dict[str, Any], error: type[Exception]
) -> None:
    with override_ai([], TASK_RUNNERS=RUNNER), pytest.raises(error):
        GeminiService().submit("Q", **arguments)
    assert not Job.objects.exists() and not tickets


def test_a_failed_call_is_a_failed_job_with_the_calls_error() -> None:
    with override_ai([InvalidRequestError("Too long.")]):
        job = GeminiService().submit("Q")
    assert (job.status, job.result and job.result.error) == ("failed", "invalid_request")
    assert job.result is not None
    with pytest.raises(InvalidRequestError, match="Too long"):
        job.result.raise_for_error()
    row = Job.objects.get()
    assert (row.error_category, row.error_message) == ("invalid_request", "Too long.")
    assert row.request != {}


def test_a_job_waits_for_a_worker_and_a_handle_shows_what_it_last_saw(tickets: list[Any]) -> None:
    with override_ai(["A", "B"], TASK_RUNNERS=RUNNER):
        first, second = (GeminiService().submit(f"Q{n}", use_cache=False) for n in range(2))
        assert tickets == [TICKET]  # one is enough until it has come
        second.refresh()
        assert (second.status, second.result, second.progress.ahead) == ("queued", None, 1)
        assert second.progress.due_at is not None
        assert run_jobs() == 2
        assert first.status == "queued"
        first.refresh()
        assert first.status == "succeeded" and first.result and first.result.text == "A"
        progress = first.progress
        assert (progress.ahead, progress.attempts, progress.due_at) == (0, 1, None)
        assert progress.started_at is not None and progress.started_at.tzinfo is datetime.UTC


def test_a_ticket_that_comes_again_finds_nothing(tickets: list[Any]) -> None:
    with override_ai(["A"], TASK_RUNNERS=RUNNER) as kit:
        GeminiService().submit("Q")
        assert [run_jobs(), run_jobs(), run_jobs()] == [1, 0, 0]
    assert len(kit.provider.requests) == 1


def test_a_delayed_job_is_not_begun_earlier(tickets: list[Any]) -> None:
    with override_ai(["A"], TASK_RUNNERS=RUNNER):
        job = GeminiService().submit("Q", delay_seconds=60, priority=3)
        ((_, arguments, delay, _),) = tickets
        assert arguments == {"is_delayed": True} and 59 < delay <= 60
        assert run_jobs() == 0
        Job.objects.update(due_at=timezone.now())
        assert run_jobs() == 1
        job.refresh()
        assert job.status == "succeeded"


def test_a_job_past_its_deadline_fails_without_a_call(tickets: list[Any]) -> None:
    with override_ai([], TASK_RUNNERS=RUNNER) as kit:
        job = GeminiService().submit("Q", deadline_seconds=60)
        Job.objects.update(deadline_at=timezone.now())
        assert run_jobs() == 0
        job.refresh()
        assert job.status == "failed" and job.result is not None
        with pytest.raises(JobDeadlineError):
            job.result.raise_for_error()
        assert job.result.error == "deadline" and not kit.provider.requests
    assert not AIOperation.objects.exists()


def test_a_cancelled_job_is_not_run_and_its_question_is_gone(tickets: list[Any]) -> None:
    with override_ai([], TASK_RUNNERS=RUNNER) as kit:
        job = GeminiService().submit("Q")
        assert job.cancel() and job.status == "cancelled" and not job.cancel()
        assert run_jobs() == 0 and not kit.provider.requests
        assert job.result is not None and job.result.error == "cancelled"
        with pytest.raises(JobCancelledError):
            job.result.raise_for_error()
    assert Job.objects.get().request == {}


def test_a_running_job_that_is_cancelled_keeps_no_answer(tickets: list[Any]) -> None:
    handles: list[jobs.JobHandle] = []

    def answer(_: Any) -> str:
        assert jobs.cancel(handles[0].id)
        return "too late"

    with override_ai([answer], TASK_RUNNERS=RUNNER):
        handles.append(GeminiService().submit("Q"))
        run_jobs()
        handles[0].refresh()
    assert handles[0].status == "cancelled"
    row = Job.objects.get()
    assert (row.result, row.request, row.owner) == (None, {}, "")
    assert AIOperation.objects.get().success  # what was used is booked


def test_who_submits_without_a_broker_answers_nothing_of_others() -> None:
    with override_ai(["mine", "old"]) as kit:
        old = GeminiService().submit("Old?", delay_seconds=60)
        Job.objects.update(due_at=timezone.now())
        job = GeminiService().submit("Mine?")
        assert job.result is not None and job.result.text == "mine"
        old.refresh()
        assert old.status == "queued" and len(kit.provider.requests) == 1
        assert run_jobs() == 1


def test_a_failed_job_can_be_tried_again_and_no_other(tickets: list[Any]) -> None:
    with override_ai([InvalidRequestError("No."), "A"], TASK_RUNNERS=RUNNER):
        job = GeminiService().submit("Q", deadline_seconds=60)
        assert not jobs.retry(job.id)
        run_jobs()
        Job.objects.update(deadline_at=timezone.now())
        tickets.clear()
        assert jobs.retry(str(job.id)) and tickets == [TICKET]
        job.refresh()
        assert (job.status, job.result, job.progress.attempts) == ("queued", None, 0)
        run_jobs()
        job.refresh()
        assert job.status == "succeeded"
        assert not jobs.retry(job.id)


def test_an_operators_retry_raises_while_the_broker_is_down(tickets: list[Any]) -> None:
    with override_ai([InvalidRequestError("No.")], TASK_RUNNERS=RUNNER):
        job = GeminiService().submit("Q")
        run_jobs()
        TicketRunner.is_down = True
        with pytest.raises(TaskRunnerError):
            jobs.retry(job.id)
        job.refresh()
        assert job.status == "failed"


@pytest.mark.parametrize("key", [uuid.UUID(int=1), str(uuid.UUID(int=2)), "nonsense", None, 7])
def test_an_unknown_job_raises(key: Any) -> None:
    with pytest.raises(UnknownJobError):
        GeminiService().job(key)


def test_the_queue_may_be_full(tickets: list[Any]) -> None:
    with override_ai([], TASK_RUNNERS=RUNNER, JOBS={"most_waiting": 2}):
        kept = [GeminiService().submit("Q") for _ in range(2)]
        with pytest.raises(JobsFullError):
            GeminiService().submit("Q")
        kept[0].cancel()
        GeminiService().submit("Q")


def test_a_broker_that_is_down_leaves_no_job(tickets: list[Any]) -> None:
    TicketRunner.is_down = True
    with override_ai([], TASK_RUNNERS=RUNNER):
        with pytest.raises(TaskRunnerError):
            GeminiService().submit("Q")
        with pytest.raises(TaskRunnerError), transaction.atomic():
            GeminiService().submit("Q")
    assert not Job.objects.exists()


def test_in_a_testcase_an_atomic_block_sends_its_ticket_on_commit(
    tickets: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    with override_ai(["A"], TASK_RUNNERS=RUNNER):
        with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
            GeminiService().submit("Q", delay_seconds=2)
            assert not tickets
        assert [round(each[2]) for each in tickets] == [2]


def test_waiting_ends_with_the_job_or_the_time(tickets: list[Any]) -> None:
    with override_ai(["A"], TASK_RUNNERS=RUNNER):
        job = GeminiService().submit("Q")
        assert not job.wait(0) and not job.wait(0.1)
        run_jobs()
        assert job.wait(0.001) or job.wait()
        assert job.result is not None
