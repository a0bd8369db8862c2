"""The page on work in the background, with the broker, worker and beat that it speaks of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.execute import Page, run_script
from tests.docs.markdown import DOCS
from tests.extras import requires
from tests.servers.valkey import RedisServer
from tests.subprocesses import python_environment

pytestmark = requires("celery")

SUBMIT = """
from django_obc_ai.services.text import GeminiService

job = GeminiService().submit("Who vaccinates?")
print(job.status == "queued" or job.is_ended, job.wait(timeout_seconds=120), job.status)
"""


def test_the_pages_celery_app_answers_jobs(
    project: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = DOCS / "howto" / "work-in-the-background.md"
    Page(page, project, settings="mysite.settings").follow(["python"])
    monkeypatch.setenv("BROKER_URL", redis_server.url)
    # Warnings are errors in our own code, not in Celery.
    environment = {**python_environment([project]), "PYTHONWARNINGS": "", "PYTHONDEVMODE": ""}
    with (project / "worker.log").open("wb") as log:
        command = [sys.executable, "-m", "celery", "-A", "mysite", "worker", "--concurrency", "1"]
        worker = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
    try:
        found = run_script(project, SUBMIT)
    finally:
        worker.terminate()
        worker.wait(60)
    log_text = (project / "worker.log").read_text(errors="replace")
    assert found.splitlines()[-1] == "True True succeeded", found + log_text[-3000:]
