"""What workers run: ``celery -A deploy worker`` and ``celery -A deploy beat``."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")

from obc_site.celery import app  # noqa: E402 - it would choose the settings of the demo

__all__ = ["app"]
