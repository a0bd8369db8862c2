"""The processes of the purge proof: a writer and a purge, both of which time every statement."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RATE = 200


@contextmanager
def timing(times: list[float]) -> Iterator[None]:
    from django.db import connection

    def wrapper(execute: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            times.append((time.perf_counter() - began) * 1000)

    with connection.execute_wrapper(wrapper):
        yield


def write(stop: Path, out: Path) -> None:
    """Insert 200 operations a second, each in a transaction of its own, until a file appears."""
    from django.db import DatabaseError
    from django.utils import timezone

    from django_obc_ai.models import AIOperation

    times: list[float] = []
    chance, errors, written, late = random.Random(1), [], 0, 0
    began = time.perf_counter()
    with timing(times):
        while not stop.exists():
            due = began + written / RATE
            if (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            late += wait < -1
            try:
                AIOperation.objects.create(
                    provider="default",
                    success=True,
                    model_used="writer",
                    cost_usd=chance.randrange(3),
                    prompt_hash=f"{written:064x}",
                    created_at=timezone.now(),
                )
            except DatabaseError as error:
                errors.append(repr(error))
            written += 1
    seconds = time.perf_counter() - began
    facts = {"times": times, "errors": errors, "written": written, "seconds": seconds}
    out.write_text(json.dumps({**facts, "late": late}), encoding="utf-8")


def purge(out: Path) -> None:
    """Run the command to its end."""
    from django.core.management import call_command

    times: list[float] = []
    began = time.perf_counter()
    with timing(times):
        call_command("purge_operations", "--older-than", "30d", stdout=sys.stdout)
    facts = {"times": times, "seconds": time.perf_counter() - began}
    out.write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    import django

    django.setup()
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        purge(Path(sys.argv[2]))
