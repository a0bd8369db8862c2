"""One process of budget_kill: asks until the file named "stop" is there.

python tests/acceptance/_budget_worker.py OBC_AI-as-JSON NUMBER FOLDER
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from pathlib import Path


def main() -> None:
    obc_ai, number, folder = json.loads(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    import django
    from django.conf import settings

    django.setup()
    settings.OBC_AI = obc_ai
    from django_obc_ai.services.text import TextService

    service = TextService()
    while not (folder / "stop").exists():
        result = service.generate_text(
            f"Question {number} {uuid.uuid4()}",
            max_output_tokens=100,
            use_cache=False,
            include_context=False,
            module=f"m{number % 2}",
        )
        if not result.success:
            time.sleep(0.05)  # refused or lost: ask again, not at once


if __name__ == "__main__":
    main()
