"""The settings of the other tests, and what the processes are given besides."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.settings import *  # noqa: F403

given: dict[str, Any] = json.loads(os.environ.get("OBC_AI_TEST_CELERY_PROJECT", "{}"))
OBC_AI = given.get("OBC_AI", {})
globals().update({f"CELERY_{key.upper()}": value for key, value in given.get("celery", {}).items()})
