"""One process of budget_kill: from the file "go" to the file "stop" it asks.

python tests/acceptance/_budget_worker.py OBC_AI-as-JSON NUMBER FOLDER
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_obc_ai.services.text import TextService


def ask(service: TextService, number: int) -> None:
    """Make one call, small and new."""
    result = service.generate_text(
        f"Question {number} {uuid.uuid4()}",
        max_output_tokens=100,
        use_cache=False,
        include_context=False,
        module=f"m{number % 2}",
    )
    if not result.success:
        time.sleep(0.05)  # refused or lost: ask again, not at once


def main() -> None:
    faulthandler.register(signal.SIGUSR1)
    parent = os.getppid()
    obc_ai, number, folder = json.loads(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    import django
    from django.conf import settings

    django.setup()
    settings.OBC_AI = obc_ai
    import google.genai  # noqa: F401 - seconds on a busy machine, in which no kill means anything

    from django_obc_ai.services.text import TextService

    service = TextService()
    (folder / f"ready-{os.getpid()}").touch()
    while not ((folder / "go").exists() or (folder / "stop").exists()):
        time.sleep(0.02)
    while not (folder / "stop").exists() and os.getppid() == parent:
        ask(service, number)


if __name__ == "__main__":
    main()
