"""What a process keeps alive while its calls are under way: leases, renewed by one thread.

The thread does nothing before a third of a lease has passed, so calls of usual length never see
it. It lingers for a while after the last of them, because starting a thread takes longer than
all the rest of a call, and ends then. A forked child begins with nothing to keep.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass

from django.db import connections

from django_obc_ai.logs import events

_LINGER_SECONDS = 10.0


@dataclass(slots=True)
class _Kept:
    renew: Callable[[], None]
    every_seconds: float
    due: float  # on the monotonic clock


class _Keeper:
    """What one process keeps."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.changed = threading.Condition()
        self.kept: dict[Hashable, _Kept] = {}
        self.thread: threading.Thread | None = None
        self.wakes_at = 0.0


_keeper = _Keeper()


def _forget() -> None:
    global _keeper
    _keeper = _Keeper()


os.register_at_fork(after_in_child=_forget)


def keep(key: Hashable, renew: Callable[[], None], every_seconds: float) -> None:
    """Call a function every so often until `drop`; what it raises is logged, and it goes on."""
    keeper = _keeper
    due = time.monotonic() + every_seconds
    with keeper.changed:
        keeper.kept[key] = _Kept(renew, every_seconds, due)
        if keeper.thread is None or not keeper.thread.is_alive():
            keeper.wakes_at = due
            keeper.thread = threading.Thread(
                target=_run, args=(keeper,), name="obc-ai-leases", daemon=True
            )
            try:
                keeper.thread.start()
            except RuntimeError:  # none can be started, or no more: leases end by themselves
                keeper.thread = None
        elif due < keeper.wakes_at:
            keeper.changed.notify_all()


def is_running() -> bool:
    """Return whether somebody is there to renew what is kept."""
    thread = _keeper.thread
    return thread is not None and thread.is_alive()


def drop(key: Hashable) -> None:
    """Stop calling it; one call may be under way."""
    keeper = _keeper
    with keeper.changed:
        keeper.kept.pop(key, None)


def _run(keeper: _Keeper) -> None:
    idle_since = time.monotonic()
    while True:
        with keeper.changed:
            now = time.monotonic()
            if keeper.kept:
                idle_since = now
            elif now - idle_since >= _LINGER_SECONDS:
                keeper.thread = None
                return
            soonest = min((each.due for each in keeper.kept.values()), default=idle_since)
            wait = max(soonest, now) - now if keeper.kept else _LINGER_SECONDS
            keeper.wakes_at = now + wait
            if wait > 0:
                keeper.changed.wait(wait)
            now = time.monotonic()
            due = [each for each in keeper.kept.values() if each.due <= now]
            for each in due:
                each.due = now + each.every_seconds
        for each in due:
            _renew(each)
        if due:
            with suppress(Exception):  # they are closed to be idle nowhere, and broken otherwise
                connections.close_all()  # those of this thread


def _renew(kept: _Kept) -> None:
    try:
        kept.renew()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other leases are renewed
        events.BUDGET_LEASES_NOT_RENEWED.log(error=error)
