"""The example site: settings, addresses and entry points."""

from __future__ import annotations

import os

if os.environ.get("OBC_SITE_BROKER"):
    # Whoever sends a task sends it through this app: Celery's current one.
    from obc_site.celery import app as celery_app

    __all__ = ["celery_app"]
