"""The beginning of the small programs that tests run as processes of their own."""

from __future__ import annotations

import json
import sys
from typing import Any

import django
from django.conf import settings


def begin() -> dict[str, Any]:
    """Set up Django by the program's argument, a JSON text, and return what it holds.

    Its "DATABASES" and "OBC_AI" are the settings, "APPS" further apps, and "SETTINGS" further
    settings; whatever else it holds is for the program.
    """
    given: dict[str, Any] = json.loads(sys.argv[1])
    settings.configure(
        DATABASES=given.get("DATABASES", {}),
        OBC_AI=given.get("OBC_AI", {}),
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django_obc_ai",
            *given.get("APPS", []),
        ],
        USE_TZ=True,
        SECRET_KEY="only for tests",
        **given.get("SETTINGS", {}),
    )
    django.setup()
    return given


def wait_for_the_others() -> None:
    """Say that this process is ready, and go on when all are; see `run_together`."""
    print("ready", flush=True)
    sys.stdin.readline()
