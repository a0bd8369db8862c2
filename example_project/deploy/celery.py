"""What workers run: ``celery -A deploy worker`` and ``celery -A deploy beat``."""

from __future__ import annotations

import os

# Before the import, which would choose the settings of the demo.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")

from obc_site.celery import app

__all__ = ["app"]
