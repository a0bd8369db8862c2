"""Erasing a user while a job's call is under way: what it would write later is not left."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from django_obc_ai.exceptions import RateLimitError
from django_obc_ai.models import AIOperation, Job, StoredContent
from django_obc_ai.services import _job_erasing, _job_queue
from django_obc_ai.services.erasure import ErasureReport, erase_user
from django_obc_ai.services.job_running import run_jobs
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai
from tests.gateway.conftest import PRICES
from tests.services.canaries import holding, in_tables
from tests.services.ticket_runner import RUNNER

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tickets")]
NAME = "aminacanary"


@pytest.fixture
def amina() -> Any:
    return get_user_model().objects.create(username="amina")


class UnderWay:
    """A call that has begun in another thread, and ends when it is told to."""

    def __init__(self, answer: Any = "A") -> None:
        self.answer, self.begun, self.over = answer, threading.Event(), threading.Event()
        self.worker = threading.Thread(target=self._work)

    def __call__(self, _: Any) -> Any:
        self.begun.set()
        assert self.over.wait(60)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def _work(self) -> None:
        try:
            run_jobs()
        finally:
            connections.close_all()

    def start(self) -> None:
        self.worker.start()
        assert self.begun.wait(60)

    def end(self) -> None:
        self.over.set()
        self.worker.join(60)


def kit(*script: Any, **settings: Any) -> override_ai:
    given = {"TASK_RUNNERS": RUNNER, "PRICES": PRICES, "LOG": {"store_content": True}}
    return override_ai(list(script), **{**given, **settings})


def when_waiting(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> list[float]:
    """Do something when the erasure first waits, and return all its waits."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            work()

    monkeypatch.setattr(_job_erasing, "_sleep", sleep)
    return waits


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_what_a_call_under_way_writes_is_erased_as_well(
    amina: Any, monkeypatch: pytest.MonkeyPatch, is_cancelled: bool
) -> None:
    call = UnderWay(f"I know {NAME}")
    waits = when_waiting(monkeypatch, call.end)
    with kit(call, "B") as given:
        job = GeminiService().submit(f"Who is {NAME}?", user=amina)
        GeminiService().submit(f"And {NAME}?", user=amina)
        call.start()
        if is_cancelled:
            job.cancel()
        report = erase_user(amina)
        assert waits and (report.jobs, report.jobs_running, report.operations) == (2, 0, 1)
        assert not Job.objects.exists() and not AIOperation.objects.filter(user=amina).exists()
        assert not StoredContent.objects.exists()
        assert not holding(NAME, in_tables())
        assert erase_user(amina) == ErasureReport() and len(given.provider.requests) == 1
        result = GeminiService().generate_text(f"Who is {NAME}?")
        assert not result.cached


def test_what_others_ask_of_a_person_in_a_call_under_way_is_erased_as_well(
    amina: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = get_user_model().objects.create(username="omar")
    call = UnderWay(f"I know {NAME}")
    waits = when_waiting(monkeypatch, call.end)
    with kit(call):
        job = GeminiService().submit(f"Who is {NAME}?", user=other)
        call.start()
        report = erase_user(amina, mentions=[NAME])
        job.refresh()
    assert waits and (report.jobs, report.jobs_running) == (0, 0)
    assert job.result is not None and job.result.text == "I know [erased]"
    assert StoredContent.objects.get().prompt == "Who is [erased]?"
    assert not holding(NAME, in_tables())


def test_a_question_of_others_that_is_put_back_meanwhile_is_rewritten(
    amina: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = UnderWay(RateLimitError("Later.", retry_after_seconds=60))
    when_waiting(monkeypatch, call.end)
    with kit(call, RETRY={"attempts": 1}):
        GeminiService().submit(f"Who is {NAME}?")
        call.start()
        assert erase_user(amina, mentions=[NAME]).jobs_running == 0
    assert Job.objects.get().status == "queued" and not holding(NAME, in_tables())


def test_a_call_that_takes_too_long_is_told_and_found_by_another_erasure(
    amina: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    call = UnderWay(f"I know {NAME}")
    brief = {"JOBS": {"lease_seconds": 0.2}, "RETRY": {"deadline_seconds": 0.2}}
    with kit(call, **brief):
        GeminiService().submit(f"Who is {NAME}?", user=amina)
        call.start()
        Job.objects.update(lease_until=timezone.now() + datetime.timedelta(seconds=60))
        call_command("erase_user", f"id:{amina.pk}", "--no-input", "--mention", NAME)
        assert "1 jobs were still under way" in capsys.readouterr().err
        call.end()
        report = erase_user(amina, mentions=[NAME])
        assert (report.jobs, report.jobs_running, report.operations) == (1, 0, 1)
    assert not holding(NAME, in_tables())


def test_a_dead_worker_is_waited_for_until_its_lease_is_over(amina: Any) -> None:
    with kit(JOBS={"lease_seconds": 0.1}):
        GeminiService().submit("Q", user=amina)
        assert _job_queue.claim() is not None
        assert erase_user(amina).jobs == 1
    assert not Job.objects.exists()


def test_a_lease_that_ends_while_it_is_looked_at_leaves_no_job(
    amina: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held when what may go is deleted, held no more when what is left is counted."""
    delete = _job_erasing._delete_ended
    with kit(JOBS={"lease_seconds": 60}):
        GeminiService().submit("Q", user=amina)
        job = _job_queue.claim()
        assert job is not None

        def delete_and_let_end(user_id: Any) -> int:
            count = delete(user_id)
            Job.objects.filter(pk=job.pk).update(lease_until=timezone.now())
            return count

        monkeypatch.setattr(_job_erasing, "_delete_ended", delete_and_let_end)
        report = erase_user(amina)
    assert (report.jobs, report.jobs_running) == (1, 0)
    assert not Job.objects.exists()
