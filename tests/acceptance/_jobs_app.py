"""The Celery app of the proofs about jobs, as a project has one.

What it is made of lies in the file that OBC_AI_JOBS_FACTS names, as JSON: see `JobSite.facts`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import django
from celery import Celery
from django.conf import settings

from tests.servers.supervisor import die_with_parent

if os.environ.get("OBC_AI_JOBS_SERVES"):
    die_with_parent()  # a worker or beat: whatever ends the proof ends it
facts = json.loads(Path(os.environ["OBC_AI_JOBS_FACTS"]).read_text(encoding="utf-8"))
for name, value in facts["settings"].items():
    setattr(settings, name, value)
django.setup()

import google.genai  # noqa: E402, F401 - seconds on a busy machine, which no first call shall take

from django_obc_ai.gateway import ratelimit  # noqa: E402
from django_obc_ai.services.task_table import SCHEDULE  # noqa: E402
from django_obc_ai.tasks import beat_schedule  # noqa: E402

ratelimit.WINDOW_SECONDS = facts["window_seconds"]

app = Celery("jobs")
app.conf.update(facts["celery"])
app.autodiscover_tasks()
#: Everything runs as often as `recover_jobs` shall.
app.conf.beat_schedule = beat_schedule(**dict.fromkeys(SCHEDULE, facts["beat_seconds"]))
