"""Keeping the leases of this process's open holds, and what could not be settled.

A thread starts with the first hold and ends when there has been none for a while, so a usual call
neither starts nor ends one. It does nothing before a third of a lease has passed, and keeps no
connection to the database open.
"""

from __future__ import annotations

import os
import threading
import time
from uuid import UUID

from django.db import connections

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.exceptions import ConfigurationError, CostStoreError
from django_obc_ai.logs import events
from django_obc_ai.types import Amount

_LINGER_SECONDS = 10.0


class _Keeper:
    """What one process keeps; a forked child begins anew."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.changed = threading.Condition()
        self.open: dict[UUID, str] = {}  # reservation to alias of its store
        self.unsettled: dict[UUID, tuple[str, Amount]] = {}
        self.thread: threading.Thread | None = None
        # On the monotonic clock: when leases are renewed, and when the last hold was opened.
        self.next_at = self.used_at = 0.0


_keeper = _Keeper()


def _current() -> _Keeper:
    global _keeper
    if _keeper.pid != os.getpid():
        _keeper = _Keeper()
    return _keeper


def keep(reservation: UUID, alias: str) -> None:
    """Renew the lease of a hold until `drop`."""
    keeper = _current()
    with keeper.changed:
        keeper.open[reservation] = alias
        keeper.used_at = time.monotonic()
        soon = keeper.used_at + _pause(alias)
        if keeper.thread is None or not keeper.thread.is_alive():
            keeper.next_at = soon
            keeper.thread = threading.Thread(
                target=_run, args=(keeper,), name="obc-ai-leases", daemon=True
            )
            keeper.thread.start()
        elif soon < keeper.next_at:
            keeper.next_at = soon
            keeper.changed.notify_all()


def drop(reservation: UUID) -> None:
    """Stop renewing."""
    _current().open.pop(reservation, None)


def _run(keeper: _Keeper) -> None:
    while True:
        with keeper.changed:
            while (wait := keeper.next_at - time.monotonic()) > 0:
                keeper.changed.wait(wait)
            aliases = set(keeper.open.copy().values())
            idle = time.monotonic() - keeper.used_at
            if not aliases and idle >= _LINGER_SECONDS:
                keeper.thread = None
                return
            pause = min((_pause(alias) for alias in aliases), default=_LINGER_SECONDS - idle)
            keeper.next_at = time.monotonic() + pause
        try:
            for alias in aliases:
                try:
                    cost_stores[alias].renew()
                except (CostStoreError, ConfigurationError) as error:
                    events.BUDGET_LEASES_NOT_RENEWED.log(about=alias, error=error, store=alias)
            settle_again()
        finally:
            connections.close_all()  # those of this thread


def _pause(alias: str) -> float:
    try:
        return cost_stores[alias].lease_seconds / 3
    except ConfigurationError:
        return 1.0


def settle_later(reservation: UUID, alias: str, amount: Amount) -> None:
    """Remember a settlement that the store did not take."""
    _current().unsettled[reservation] = (alias, amount)


def settle_again() -> None:
    """Try what could not be settled before; the leases end by themselves otherwise."""
    keeper = _current()
    for reservation, (alias, amount) in list(keeper.unsettled.items()):
        try:
            cost_stores[alias].settle(reservation, amount)
        except (CostStoreError, ConfigurationError):
            return
        keeper.unsettled.pop(reservation, None)


_swept: dict[str, tuple[int, float]] = {}


def is_time_to_sweep(alias: str) -> bool:
    """Return whether a quarter of a lease has passed since this process last looked."""
    pid, last = _swept.get(alias, (0, 0.0))
    now = time.monotonic()
    if pid != os.getpid():
        _swept[alias] = (os.getpid(), now)
        return False
    if now - last < cost_stores[alias].lease_seconds / 4:
        return False
    _swept[alias] = (pid, now)
    return True
