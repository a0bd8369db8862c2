"""Who runs tasks: processes write down that they are there, for the dashboard and the health check.

Nothing rests on it. A process that cannot write goes on with its work.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta

from django.db import Error, connections
from django.utils import timezone

from django_obc_ai.logs import events
from django_obc_ai.models import Worker
from django_obc_ai.models.fields import NAME_LENGTH
from django_obc_ai.services.tasks import worker_name

#: A worker says so often that it is there.
SECONDS = 20.0
#: One that has not for so long is forgotten when another begins.
_FORGET_AFTER = timedelta(hours=1)
_clock = time.monotonic
_noted: dict[tuple[int, str], float] = {}


def note_worker(name: str = "") -> None:
    """Write down that a worker is there, unless it was not long ago.

    Call it outside a transaction, as often as you like: each process writes every 20 seconds.

    Args:
        name: "" is this process.
    """
    name = (name or worker_name())[:NAME_LENGTH]
    key, now = (os.getpid(), name), _clock()
    before = _noted.get(key)
    if before is not None and now < before + SECONDS:
        return
    _noted[key] = now
    _write(name, is_first=before is None)


def forget_worker(name: str = "") -> None:
    """Take a worker that ends out of the list."""
    name = (name or worker_name())[:NAME_LENGTH]
    _noted.pop((os.getpid(), name), None)
    try:
        Worker.objects.filter(name=name).delete()
    except Error as error:
        events.TASKS_WORKER_NOT_NOTED.log(worker=name, error=error)


def _write(name: str, *, is_first: bool) -> None:
    rows = Worker.objects
    now = timezone.now()
    changes = {"seen_at": now, **({"started_at": now} if is_first else {})}
    try:
        if is_first:
            rows.filter(seen_at__lt=now - _FORGET_AFTER).delete()
        if not rows.filter(name=name).update(**changes):
            new = Worker(name=name, started_at=now, seen_at=now)
            rows.bulk_create([new], ignore_conflicts=True)
    except Error as error:
        events.TASKS_WORKER_NOT_NOTED.log(worker=name, error=error)


class Sightings(threading.Thread):
    """Note a worker for as long as it is there, whatever it is busy with.

    For the process that others are forked from: the thread closes its connection each time, so
    that none is handed down, and the process never waits for the database.
    """

    def __init__(self, name: str) -> None:
        """Name the worker; `start()` begins."""
        super().__init__(name="obc-ai-sightings", daemon=True)
        self._worker = name
        self._ended = threading.Event()

    def run(self) -> None:
        """Note it until `stop()`."""
        while True:
            note_worker(self._worker)
            connections.close_all()  # this thread's own
            if self._ended.wait(SECONDS):
                break
        forget_worker(self._worker)
        connections.close_all()

    def stop(self) -> None:
        """End it, and forget the worker, unless the database keeps us waiting."""
        self._ended.set()
        self.join(5)
