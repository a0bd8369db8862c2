"""Workers that are killed and stopped in the middle of a paid call lose and double nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_obc_ai.gateway import ledger
from django_obc_ai.models import AIOperation, Job
from django_obc_ai.services.jobs import JobHandle
from django_obc_ai.services.text import GeminiService
from django_obc_ai.testing import override_ai
from tests.backends.test_database_cost_store import _databases
from tests.extras import is_installed
from tests.servers.gemini import GeminiServer, replies
from tests.services.conftest import GENAI, MODEL
from tests.services.test_job_queue import add
from tests.services.ticket_runner import RUNNER
from tests.subprocesses import ROOT, run_together

pytestmark = pytest.mark.django_db(transaction=True)
needs_sdk = pytest.mark.skipif(not is_installed("google.genai"), reason="google-genai is missing")
MODULE = "tests.services.jobs_in_process"
LEASE_SECONDS = 2
Worker = Callable[[], "subprocess.Popen[str]"]


def until(found: Callable[[], object]) -> None:
    """Wait until something is true, for a minute at most."""
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def worker(gemini_server: GeminiServer, tmp_path: Path) -> Iterator[Worker]:
    """Return a function that starts a worker; this process hands over and asks."""
    options = {"api_key": gemini_server.key, "base_url": gemini_server.url, "model": MODEL}
    given = {
        "PROVIDERS": {"default": {"BACKEND": GENAI, "OPTIONS": options}},
        "JOBS": {"lease_seconds": LEASE_SECONDS},
        "LOG": {"spool": str(tmp_path / "spool")},
    }
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        argument = {"DATABASES": _databases("default"), "OBC_AI": given, "works": "forever"}
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, json.dumps(argument)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    with override_ai([], **{**given, "TASK_RUNNERS": RUNNER}):
        yield start
    for process in started:
        process.kill()
        process.communicate()


def end_in_order(process: subprocess.Popen[str], taken: int) -> None:
    """Stop a worker as a supervisor does."""
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, f"{taken} jobs were taken.\n")


def submit(*, use_cache: bool) -> JobHandle:
    return GeminiService().submit("Where is Marawi?", use_cache=use_cache)


@needs_sdk
@pytest.mark.parametrize("use_cache", [False, True], ids=["alone", "single-flight"])
def test_a_worker_killed_in_a_paid_call_leads_to_one_more_call_and_one_answer(
    use_cache: bool, worker: Worker, gemini_server: GeminiServer
) -> None:
    gemini_server.script(
        replies.answer("lost", delay_seconds=30, bills=True), replies.answer("found")
    )
    job = submit(use_cache=use_cache)
    first = worker()
    until(gemini_server.is_answering)
    job.refresh()
    assert (job.status, job.progress.attempts) == ("running", 1)
    first.kill()
    first.wait()
    second = worker()
    assert job.wait(60)
    assert job.result is not None and job.result.text == "found"
    assert (len(gemini_server.peek()), job.progress.attempts) == (2, 2)
    end_in_order(second, 1)
    ledger.drain("default")
    rows = AIOperation.objects.order_by("created_at").values_list("error_category", "attempts")
    assert list(rows) == [("abandoned", 1), ("", 1)]
    assert all(row.cost_usd > 0 for row in AIOperation.objects.all())
    assert job.result.operation_id == AIOperation.objects.get(success=True).pk


@needs_sdk
def test_a_worker_that_wakes_after_its_lease_cannot_write_over_anothers_answer(
    worker: Worker, gemini_server: GeminiServer
) -> None:
    gemini_server.script(replies.answer("old", delay_seconds=5), replies.answer("new"))
    job = submit(use_cache=False)
    asleep = worker()
    until(gemini_server.is_answering)
    asleep.send_signal(signal.SIGSTOP)
    awake = worker()
    assert job.wait(60)
    row = Job.objects.values().get()
    asleep.send_signal(signal.SIGCONT)
    until(lambda: AIOperation.objects.count() == 2)
    end_in_order(asleep, 1)
    end_in_order(awake, 1)
    assert Job.objects.values().get() == row
    assert job.result is not None and job.result.text == "new"
    assert set(AIOperation.objects.values_list("success", flat=True)) == {True}


@needs_sdk
def test_a_worker_told_to_end_finishes_the_job_that_it_is_at(
    worker: Worker, gemini_server: GeminiServer
) -> None:
    gemini_server.script(replies.answer("A", delay_seconds=1), is_repeated=True)
    first, second = submit(use_cache=False), submit(use_cache=False)
    process = worker()
    until(gemini_server.is_answering)
    end_in_order(process, 1)
    first.refresh()
    second.refresh()
    assert (first.status, second.status) == ("succeeded", "queued")


def test_processes_at_once_take_each_job_once() -> None:
    added = [str(add().pk) for _ in range(60)]
    given = {"DATABASES": _databases("default"), "OBC_AI": {}, "works": "claims"}
    assert Counter(run_together(MODULE, given, count=4)) == Counter(added)
    assert set(Job.objects.values_list("status", "attempts")) == {("succeeded", 1)}
