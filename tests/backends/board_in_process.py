"""One process that asks for a flight: ``python -m tests.backends.board_in_process JSON``.

JSON holds DATABASES and OBC_AI, key, token and lease_seconds. After a line from stdin it boards,
again and again, and prints each new answer: role, is_takeover, leader, answer. A leader lands what
the next line says; who has landed or is lost ends.
"""

from __future__ import annotations

import json
import sys
import time

from tests.in_process import begin, wait_for_the_others


def main() -> None:
    given = begin()
    from django_obc_ai.backends.coordinators import coordinators

    coordinator, key, token = coordinators["default"], given["key"], given["token"]
    coordinator.flight_lease_seconds = given["lease_seconds"]
    coordinator.board("warm", token, age_seconds=0)
    wait_for_the_others()
    began, last, seen = time.monotonic(), None, 0
    while True:
        found = coordinator.board(key, token, age_seconds=time.monotonic() - began, seen=seen)
        seen = found.seen
        said = [found.role, found.is_takeover, found.leader, found.answer]
        if said != last:
            print(json.dumps(said), flush=True)
        last = said
        if found.role == "lead":
            answer = sys.stdin.readline().strip()
            coordinator.land(key, token, answer, keep_seconds=60)
        if found.role != "follow":
            break
        time.sleep(0.02)


if __name__ == "__main__":
    main()
