"""The project's Celery app."""

from __future__ import annotations

import json
import os

from celery import Celery

from django_obc_ai.tasks import beat_schedule

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.celery_project.settings")

app = Celery("tests.celery_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = beat_schedule(
    **json.loads(os.environ.get("OBC_AI_TEST_CELERY_PROJECT", "{}")).get("beat", {})
)
