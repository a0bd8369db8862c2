"""``manage.py run_jobs``: one job, all that are due, or a wrong argument."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_obc_ai.management.commands import run_jobs
from django_obc_ai.models import Job
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai
from tests.services.conftest import tickets  # noqa: F401 - a fixture
from tests.services.ticket_runner import RUNNER

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tickets")]


def run(**options: Any) -> str:
    output = io.StringIO()
    call_command("run_jobs", stdout=output, **options)
    return output.getvalue()


def test_it_answers_one_job_or_all_that_are_due_and_takes_up_what_was_left() -> None:
    with override_ai(["A"] * 4, TASK_RUNNERS=RUNNER):
        jobs = [GeminiService().submit(f"Q{number}", use_cache=False) for number in range(4)]
        GeminiService().submit("later", delay_seconds=60)
        left = Job.objects.filter(pk=jobs[0].id)
        left.update(status="running", owner="dead", lease_until=timezone.now())
        assert run(once=True) == "1 jobs were taken.\n"
        assert run() == "3 jobs were taken.\n"
        assert run() == "0 jobs were taken.\n"
    assert Job.objects.filter(status="succeeded").count() == 4


def test_what_is_rarely_to_be_done_is_done_while_there_are_always_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_jobs, "_TIDY_EVERY_SECONDS", 1e-9)
    seen: list[Any] = []

    def answer(_: Any) -> str:
        seen.append(Job.objects.get(pk=late.id).status)
        if len(seen) < 3:
            GeminiService().submit(f"Q{len(seen)}", use_cache=False)
        Job.objects.filter(pk=late.id).update(deadline_at=timezone.now())
        return "A"

    with override_ai([answer] * 3, TASK_RUNNERS=RUNNER):
        late = GeminiService().submit("late", delay_seconds=60)
        GeminiService().submit("Q0", use_cache=False)
        assert run() == "3 jobs were taken.\n"
    assert seen == ["queued", "failed", "failed"]


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(CommandError, match="--interval"):
        run(forever=True, interval=0.0)
