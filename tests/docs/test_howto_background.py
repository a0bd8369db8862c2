"""The page on work in the background, with the broker, worker and beat that it speaks of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from django_obc_ai.services.task_table import SCHEDULE
from tests.docs.execute import Page, run_script
from tests.docs.markdown import DOCS
from tests.extras import requires
from tests.servers.valkey import RedisServer
from tests.subprocesses import python_environment, run_python

pytestmark = requires("celery")

SUBMIT = """
from django_obc_ai.services.text import GeminiService

job = GeminiService().submit("Who vaccinates?")
print(job.status == "queued" or job.is_ended, job.wait(timeout_seconds=120), job.status)
"""


OWN = """
CELERY_BEAT_SCHEDULE["mine"] = {"task": "mine", "schedule": 60}
"""
SCHEDULED = "from mysite.celery import app; print(*app.conf.beat_schedule)"


def test_the_pages_schedule_has_the_packages_entries_and_the_projects(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = DOCS / "howto" / "work-in-the-background.md"
    Page(page, project, settings="mysite.settings").follow(["python"])
    with (project / "mysite" / "settings.py").open("a") as settings:
        settings.write(OWN)
    monkeypatch.setenv("BROKER_URL", "redis://127.0.0.1:1/0")
    wanted = {"mine", *(f"django_obc_ai.{name}" for name in SCHEDULE)}
    # As Django's commands and servers begin, with the settings; as Celery's do, with the app.
    by_django = run_script(project, SCHEDULED)
    environment = {"PYTHONWARNINGS": "", "PYTHONDEVMODE": ""}
    by_celery = run_python(["-c", SCHEDULED], cwd=project, path=[project], environment=environment)
    for found in (by_django, by_celery.stdout):
        assert set(found.splitlines()[-1].split()) == wanted, found


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
