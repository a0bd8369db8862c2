"""The site's Celery app, used where OBC_SITE_BROKER names a broker.

celery -A obc_site worker
celery -A obc_site beat
"""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "obc_site.settings")

app = Celery("obc_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
