"""The project's Celery app."""

from __future__ import annotations

import json
import os

from celery import Celery

from django_obc_ai.services.task_table import TASKS

# The contract suite's, which must be there before the tasks are made.
TASKS.setdefault("contract_note", "django_obc_ai.testing.task_runner_contract.note_run")

from django_obc_ai.tasks import beat_schedule  # noqa: E402

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.celery_project.settings")

app = Celery("tests.celery_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = beat_schedule(
    **json.loads(os.environ.get("OBC_AI_TEST_CELERY_PROJECT", "{}")).get("beat", {})
)
