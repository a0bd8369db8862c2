"""People who search the site of barangays.py: a process of its own.

Standard input: JSON of port, queries, people, requests. Standard output: JSON of [worker, ms] of
each request in the order of their beginnings, and of what went wrong.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from typing import Any
from urllib.parse import quote_plus

#: Only pages with results have it.
FOUND = b'id="result-1"'


def live(facts: dict[str, Any]) -> dict[str, Any]:
    """Send all requests, so many at a time."""
    waiting = list(enumerate(facts["queries"][number % len(facts["queries"])]
                             for number in range(facts["requests"])))  # fmt: skip
    waiting.reverse()
    found: list[tuple[int, str, float]] = []
    failures: list[str] = []
    lock = threading.Lock()

    def person() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                number, query = waiting.pop()
            began = time.perf_counter()
            # A connection each, as the kit's proxy has it: whoever is free takes it.
            connection = http.client.HTTPConnection("127.0.0.1", facts["port"], timeout=120)
            connection.request("GET", f"/search/?q={quote_plus(query)}")
            answer = connection.getresponse()
            body = answer.read()
            took = (time.perf_counter() - began) * 1e3
            connection.close()
            with lock:
                found.append((number, answer.headers["X-Worker"], took))
                if answer.status != 200 or FOUND not in body:
                    failures.append(f"{answer.status} for {query!r}, {len(body)} bytes")

    people = [threading.Thread(target=person) for _ in range(facts["people"])]
    for each in people:
        each.start()
    for each in people:
        each.join()
    found.sort()
    return {"answers": [(worker, took) for _, worker, took in found], "failures": failures}


if __name__ == "__main__":
    print(json.dumps(live(json.load(sys.stdin))))
