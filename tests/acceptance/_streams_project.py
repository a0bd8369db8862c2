"""Settings of the project that uvicorn serves for the proofs about the API; see `_streams_site.py`.

The test project's, with what the file named by OBC_AI_STREAMS_FACTS changes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.settings import *  # noqa: F403 - a settings module
from tests.settings import DATABASES, INSTALLED_APPS

_facts: dict[str, Any] = json.loads(Path(os.environ["OBC_AI_STREAMS_FACTS"]).read_text("utf-8"))
DATABASES["default"]["OPTIONS"] = {"pool": _facts["pool"]}
INSTALLED_APPS += _facts["apps"]
globals().update(_facts["settings"])
