"""What one process does at a time, or once: its row of `TaskState` is held for that long.

Whoever dies holds it no longer than the lease. So work under a claim may still be begun twice, and
must stand it; the claim saves the doubled work, and what it would cost.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import Q
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ConfigurationError, ObcAIError
from django_obc_ai.gateway import keeper
from django_obc_ai.logs.event import describe
from django_obc_ai.models import TaskState
from django_obc_ai.models.connections import persist

#: Of work that can be begun again without harm; renewed after a third of it.
LEASE_SECONDS = 15.0


@contextmanager
def claimed(name: str, key: str = "", *, seconds: float = LEASE_SECONDS) -> Iterator[bool]:
    """Hold a piece of work during the block; yield False if somebody else does.

    Raises:
        DatabaseError: Nobody can say.
    """
    owner = _take(name, key, seconds, once=False)
    if owner is None:
        yield False
        return
    with _kept(name, key, owner, seconds):
        try:
            yield True
        finally:
            with suppress(DatabaseError, InterfaceError):  # the lease ends by itself
                _write(name, key, owner, lease_until=None)


@contextmanager
def claimed_once(name: str, key: str, *, seconds: float) -> Iterator[bool]:
    """Do something for a key that has not been done; yield False if it was, or somebody is at it.

    A block that raises leaves it to be done by the next one.

    Raises:
        DatabaseError: Nobody can say; or it was done, and could not be noted.
    """
    owner = _take(name, key, seconds, once=True)
    if owner is None:
        yield False
        return
    with _kept(name, key, owner, seconds):
        try:
            yield True
        except BaseException as error:
            with suppress(DatabaseError, InterfaceError):  # the lease ends by itself
                _finish(name, key, owner, error)
            raise
        _finish(name, key, owner, None)


def is_claimed(name: str, key: str = "") -> bool:
    """Return whether somebody holds a piece of work."""
    rows = TaskState.objects.filter(name=name, key=key)
    return rows.filter(lease_until__gt=timezone.now()).exists()


def _take(name: str, key: str, seconds: float, *, once: bool) -> str | None:
    alias, owner = get_settings().database, secrets.token_hex(8)

    def take() -> bool:
        now = timezone.now()
        # Its own, too: the answer to a statement that is repeated may have been lost.
        is_free = Q(lease_until=None) | Q(lease_until__lte=now) | Q(owner=owner)
        rows = TaskState.objects.filter(is_free, name=name, key=key)
        values: dict[str, Any] = {"owner": owner, "lease_until": _after(now, seconds)}
        if once:
            rows = rows.exclude(finished_at__isnull=False, is_ok=True)
            values["started_at"] = now
        return rows.update(**values) == 1

    def create() -> None:
        with transaction.atomic(using=alias):
            row = TaskState(name=name, key=key)
            TaskState.objects.bulk_create([row], ignore_conflicts=True)

    if not persist(alias, take):
        if TaskState.objects.filter(name=name, key=key).exists():
            return None
        persist(alias, create)
        if not persist(alias, take):
            return None
    return owner


@contextmanager
def _kept(name: str, key: str, owner: str, seconds: float) -> Iterator[None]:
    def renew() -> None:
        _write(name, key, owner, lease_until=_after(timezone.now(), seconds))

    keeper.keep(owner, renew, seconds / 3)
    try:
        yield
    finally:
        keeper.drop(owner)


def _finish(name: str, key: str, owner: str, error: BaseException | None) -> None:
    _write(name, key, owner, lease_until=None, finished_at=timezone.now(), **outcome_of(error))


def outcome_of(error: BaseException | None) -> dict[str, Any]:
    """Return the columns that say how something ended; without anybody's data."""
    if error is None:
        return {"is_ok": True, "error_category": "", "error_message": ""}
    category = type(error).__name__
    if isinstance(error, (ObcAIError, ConfigurationError)):
        category = error.code
    return {"is_ok": False, "error_category": category[:50], "error_message": describe(error)}


def _write(name: str, key: str, owner: str, **values: Any) -> None:
    alias = get_settings().database
    rows = TaskState.objects.filter(name=name, key=key, owner=owner)
    persist(alias, partial(rows.update, **values))


def _after(moment: datetime.datetime, seconds: float) -> datetime.datetime:
    return moment + datetime.timedelta(seconds=seconds)
