"""One process that pushes at a gate: ``python -m tests.backends.gate_in_process JSON``.

JSON holds "url" of a Redis or DATABASES and OBC_AI, "requests", "window" and "seconds". Four
threads ask with patience. Prints when each call was let through and when it had ended.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import Any

from tests.in_process import begin, wait_for_the_others
from tests.subprocesses import run_together


def main() -> None:
    given = begin()
    from django.db import connections

    from django_obc_ai.backends.coordinators.database import DatabaseCoordinator
    from django_obc_ai.backends.coordinators.redis import RedisCoordinator
    from django_obc_ai.types.coordination import Limits

    gates: Any = RedisCoordinator(url=given["url"]) if "url" in given else DatabaseCoordinator()
    limits = Limits(requests=given["requests"], window_seconds=given["window"])
    gates.gate_state("default", limits)
    wait_for_the_others()
    until = time.monotonic() + given["seconds"]
    found: list[tuple[float, float]] = []

    def push() -> None:
        while time.monotonic() < until:
            permit = uuid.uuid4().hex
            while time.monotonic() < until:
                admission = gates.acquire(
                    "default", permit, tokens=1, limits=limits, patience_seconds=2
                )
                if not admission.reason:
                    began = time.time()
                    time.sleep(0.005)
                    ended = time.time()
                    gates.release("default", permit, verdict="ok", limits=limits)
                    found.append((began, ended))
                    break
                time.sleep(admission.wait_seconds)
        connections.close_all()

    threads = [threading.Thread(target=push) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    gates.close()
    print(json.dumps(found))


def check_processes(place: dict[str, Any], *, count: int = 4) -> None:
    """Let processes push at one gate and look at every window."""
    given = {**place, "requests": 10, "window": 0.5, "seconds": 3}
    calls = run_together("tests.backends.gate_in_process", given, count=count)
    # The provider may have seen each at its beginning, at its end, or in between.
    for began, _ in calls:
        seen = [each for each in calls if each[0] <= began and each[1] > began - 0.5]
        assert len(seen) <= 10
    assert len(calls) >= 20  # several windows were used


if __name__ == "__main__":
    main()
