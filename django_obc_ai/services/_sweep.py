"""Taking up what a killed process has left in the outbox, beside a search."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Any

from django.db import DatabaseError, connections
from django.utils import timezone

from django_obc_ai.backends.embedders import PaidEmbedder, embedders
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.indexes import VectorIndex
from django_obc_ai.logs import events
from django_obc_ai.models import DirtyRow
from django_obc_ai.services import index_tasks, tasks

#: The process that wrote an outbox row works it off itself, at once. Older rows are left over.
LEFT_OVER_AFTER = datetime.timedelta(seconds=0.2)
#: A paid call may take so long; taken up earlier, its texts would be paid for twice. Workers, where
#: the task runner has some, may have other work to do first.
LEFT_OVER_AFTER_LONG = datetime.timedelta(seconds=60)
_LOOK_EVERY_SECONDS = 0.1
#: After a sweep that got nowhere: the embedder fails, or other settings wait for a rebuild.
_BACK_OFF_SECONDS = 5.0
_clock = time.monotonic
_next_look: dict[str, float] = {}
_running: dict[str, threading.Thread] = {}
_lock = threading.Lock()


def take_up_left_overs(index: VectorIndex) -> None:
    """Start a thread that works off outbox rows which nobody does; never blocks or raises.

    At most one thread an index and process, and one look at the outbox in 0.1 seconds. In a
    transaction nothing is done: the thread could not see what the caller does.
    """
    now = _clock()
    connection = connections[index.database]
    if now < _next_look.get(index.name, 0.0) or connection.in_atomic_block:
        return
    # An in-memory SQLite database belongs to one process, which cannot outlive its own kill.
    if getattr(connection, "is_in_memory_db", lambda: False)():
        return
    with _lock:
        if now < _next_look.get(index.name, 0.0) or index.name in _running:
            return
        _next_look[index.name] = now + _LOOK_EVERY_SECONDS
        try:
            oldest = _oldest_left_over(index)
            if oldest is None:
                return
        except (
            DatabaseError,
            ConfigurationError,
        ) as error:  # a search that works is worth more than this look
            events.INDEXES_SWEEP_FAILED.log(about=index.name, error=error, index=index.name)
            return
        thread = threading.Thread(
            target=_sweep, args=(index, oldest), name=f"obc-ai-sweep-{index.name}", daemon=True
        )
        _running[index.name] = thread
        thread.start()


def wait_for_sweeps() -> None:
    """Wait until no sweep of this process runs; for tests and orderly shutdowns."""
    for thread in list(_running.values()):
        thread.join()


def _oldest_left_over(index: VectorIndex) -> int | None:
    """Return the first outbox row that its writer should have cleared by now."""
    from django_obc_ai.services.indexing import left_over_of

    is_long = tasks.has_workers() or isinstance(embedders[index.embedder], PaidEmbedder)
    age = LEFT_OVER_AFTER_LONG if is_long else LEFT_OVER_AFTER
    tried = list(left_over_of(index.name))[:500]
    rows: Any = DirtyRow.objects.using(index.database).filter(index_name=index.name)
    first = rows.exclude(pk__in=tried).order_by("pk").values_list("pk", "created_at").first()
    return first[0] if first is not None and first[1] <= timezone.now() - age else None


def _sweep(index: VectorIndex, oldest: int) -> None:
    from django_obc_ai.services.indexing import IndexingService

    try:
        if tasks.has_workers():
            index_tasks.work_off(index)  # not beside a worker who is at it
        else:
            IndexingService().process_changes(index.name)
        if _oldest_left_over(index) == oldest:
            _next_look[index.name] = _clock() + _BACK_OFF_SECONDS
    except Exception as error:  # noqa: BLE001 - nobody waits for this thread
        _next_look[index.name] = _clock() + _BACK_OFF_SECONDS
        events.INDEXES_SWEEP_FAILED.log(about=index.name, error=error, index=index.name)
    finally:
        connections.close_all()  # this thread's own
        _running.pop(index.name, None)
