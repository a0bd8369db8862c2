"""Keeping the leases of this process's open holds, and what could not be settled."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from uuid import UUID

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.exceptions import ConfigurationError, CostStoreError
from django_obc_ai.gateway import keeper
from django_obc_ai.types import Amount


class _Holds:
    """What one process holds; a forked child begins anew."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: dict[UUID, str] = {}  # reservation to alias of its store
        self.kept: dict[str, float] = {}  # aliases whose leases are renewed, and how often
        self.unsettled: dict[UUID, tuple[str, Amount]] = {}


_holds = _Holds()


def _forget() -> None:
    global _holds
    _holds = _Holds()


os.register_at_fork(after_in_child=_forget)


def keep(reservation: UUID, alias: str) -> None:
    """Renew the lease of a hold until `drop`."""
    holds, pause = _holds, _pause(alias)
    with holds.lock:
        holds.open[reservation] = alias
        is_kept = holds.kept.get(alias) == pause
        holds.kept[alias] = pause
    if not (is_kept and keeper.is_running()):
        keeper.keep(("holds", alias), partial(_renew, holds, alias), pause)


def drop(reservation: UUID) -> None:
    """Stop renewing."""
    _holds.open.pop(reservation, None)


def _renew(holds: _Holds, alias: str) -> None:
    with holds.lock:
        if alias not in list(holds.open.values()):
            holds.kept.pop(alias, None)
            keeper.drop(("holds", alias))
            return
    cost_stores[alias].renew()
    settle_again()


def _pause(alias: str) -> float:
    try:
        return cost_stores[alias].lease_seconds / 3
    except ConfigurationError:
        return 1.0


def settle_later(reservation: UUID, alias: str, amount: Amount) -> None:
    """Remember a settlement that the store did not take."""
    _holds.unsettled[reservation] = (alias, amount)


def settle_again() -> None:
    """Try what could not be settled before; the leases end by themselves otherwise."""
    holds = _holds
    for reservation, (alias, amount) in list(holds.unsettled.items()):
        try:
            cost_stores[alias].settle(reservation, amount)
        except (CostStoreError, ConfigurationError):
            return
        holds.unsettled.pop(reservation, None)


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
