"""The site's Celery app, used where OBC_SITE_BROKER names a broker.

celery -A obc_site worker
celery -A obc_site beat
"""

from __future__ import annotations

import os

from celery import Celery

from django_obc_ai.tasks import beat_schedule

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "obc_site.settings")

app = Celery("obc_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = beat_schedule()  # and what a site of your own does by the clock
