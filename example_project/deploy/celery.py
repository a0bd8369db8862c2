"""What workers run: ``celery -A deploy worker`` and ``celery -A deploy beat``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before the import, which would choose the settings of the demo.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")

from deploy.backups.running import forget_ended
from obc_site.celery import app

if "beat" in sys.argv and (_home := os.environ.get("OBC_SITE_VAR")):
    # After a power cut its number may be another process's, for which beat would not start.
    forget_ended(Path(_home, "run", "beat.pid"))

__all__ = ["app"]
