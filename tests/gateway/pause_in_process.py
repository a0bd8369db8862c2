"""One process that asks until it is refused: ``python -m tests.gateway.pause_in_process JSON``.

JSON holds DATABASES and OBC_AI. Prints "ready" after the first answer, then when the last call
that was answered began, on the system's clock, and the code of the refusal.
"""

from __future__ import annotations

import json
import time

from tests.in_process import begin


def main() -> None:
    begin()
    from django.db import connections

    from django_obc_ai.services.text import TextService

    last, began = 0.0, time.time()
    result = TextService().generate_text("Q", use_cache=False)
    print("ready", flush=True)
    while result.success:
        last, began = began, time.time()
        result = TextService().generate_text("Q", use_cache=False)
        time.sleep(0.02)
    connections.close_all()
    print(json.dumps([last, result.error]))


if __name__ == "__main__":
    main()
