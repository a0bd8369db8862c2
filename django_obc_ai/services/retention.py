"""Deleting old operations without losing a sum, a rollup or anybody's time.

A batch is one short transaction: rows go, and what they come to is added to what their quarter
of an hour keeps, `OperationRollup.purged`. Killed anywhere, the next run goes on.
"""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connections
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway import cache, ledger, recovery, retry
from django_obc_ai.logs import events
from django_obc_ai.models import (
    AIOperation,
    CostCorrection,
    Flight,
    OperationRollup,
    StoredContent,
)
from django_obc_ai.models.connections import persist
from django_obc_ai.models.ledger import locked
from django_obc_ai.models.purged import PURGED_BY, PurgedSums
from django_obc_ai.services.rollups import MARGIN, bucket_of, roll_up
from django_obc_ai.services.tally import COLUMNS, Tally, tally_of

__all__ = ["PurgeReport", "purge_operations"]

_ROW_COLUMNS = tuple(
    dict.fromkeys(
        (*COLUMNS, *PURGED_BY.values(), "attempts", "created_at", "recorded_at", "cache_entry")
    )
)
_LEAST_AGE = datetime.timedelta(days=1)
#: A batch holds its locks about so long: far below a second, which is what a writer notices.
_AIM_SECONDS = 0.06
_FEWEST, _MOST = 50, 2_000
_TICK = datetime.timedelta(microseconds=1)
_sleep = time.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeReport:
    """What a purge did.

    Attributes:
        deleted: Operations that are gone, or with a dry run would be.
        left: Old ones that stay for a later run, since the rollups may not hold them yet, or
            since they lead to an answer in the response cache, which `erase_user` must find.
        batches: Transactions that it took.
    """

    deleted: int
    left: int = 0
    batches: int = 0


def purge_operations(
    older_than: datetime.timedelta, *, is_dry_run: bool = False, most: int | None = None
) -> PurgeReport:
    """Delete operations that began before now minus an age, oldest first.

    Sums stay what they were: costs by day, model, module, user and tenant, the totals of
    budgets, the dashboard. What goes is what only a row can tell: its times, its prompt's hash,
    its corrections. Between batches it rests as long as one took, so that writers get through.

    Args:
        older_than: At least a day.
        is_dry_run: Only count them.
        most: Delete so many at most in this run; None is all.

    Raises:
        ValueError: The age is below a day.
        RuntimeError: It was called inside a transaction, which would hold its locks.
    """
    if older_than < _LEAST_AGE:
        raise ValueError(f"Operations are kept for a day at least; {older_than} is less.")
    before = timezone.now() - older_than
    old = AIOperation.objects.filter(created_at__lt=before).order_by()
    if is_dry_run:
        return PurgeReport(deleted=old.count())
    alias = get_settings().database
    if retry.is_in_transaction():
        raise RuntimeError("purge_operations() needs transactions of its own: call it outside.")
    ledger.drain(alias)  # a row that waits on disk must not come after the one that it replaces
    Flight.objects.forget()
    roll_up()
    deleted, batches, size = 0, 0, _FEWEST * 4
    position: datetime.datetime | None = None
    while most is None or deleted < most:
        count = size if most is None else min(size, most - deleted)
        began = time.perf_counter()
        gone, position = persist(alias, partial(_purge_some, before, position, count))
        if position is None:
            break
        taken = time.perf_counter() - began
        deleted, batches = deleted + gone, batches + 1
        size = round(min(max(size * min(_AIM_SECONDS / taken, 2), _FEWEST), _MOST))
        _sleep(taken)
    return PurgeReport(deleted=deleted, left=old.count() if most is None else 0, batches=batches)


def _purge_some(
    before: datetime.datetime, position: datetime.datetime | None, most: int
) -> tuple[int, datetime.datetime | None]:
    """Delete a batch from a position on; return how many went and where to go on, or None."""
    expired = _expired_entries(before, position, most)
    with locked(is_purge=True):
        rows = AIOperation.objects.filter(created_at__lt=before).order_by("created_at")
        if position is not None:  # what was deleted before need not be passed again
            rows = rows.filter(created_at__gte=position)
        features = connections[get_settings().database].features
        # A row that is being corrected stays until the next run; to wait for it may be a deadlock.
        is_able = features.has_select_for_update_skip_locked
        found = list(rows.select_for_update(skip_locked=is_able).values(*_ROW_COLUMNS)[:most])
        if not found:
            return 0, None
        buckets = {bucket_of(row["created_at"]) for row in found}
        rollups = {
            each.start: each
            for each in OperationRollup.objects.filter(is_day=False, start__in=buckets)
        }
        going = [
            row
            for row in found
            if _is_rolled_up(row, rollups)
            and (row["cache_entry"] is None or row["cache_entry"] in expired)
        ]
        last: datetime.datetime = found[-1]["created_at"]
        if not going:
            return 0, last + _TICK
        _add(going, rollups)
        keys = [row["pk"] for row in going]
        alias = get_settings().database
        for model, column in (
            (CostCorrection, "operation_id__in"),
            (StoredContent, "pk__in"),
            (AIOperation, "pk__in"),
        ):
            # No collector: nothing else hangs on them, and no signal is anybody's business.
            doomed: Any = model.objects.filter(**{column: keys})  # Any: _raw_delete is Django's own
            doomed._raw_delete(alias)
        return len(going), last


def _expired_entries(
    before: datetime.datetime, position: datetime.datetime | None, most: int
) -> set[uuid.UUID]:
    """Return the cache entries of a batch that are gone, looked up before anything is locked."""
    rows = AIOperation.objects.filter(created_at__lt=before).order_by("created_at")
    if position is not None:
        rows = rows.filter(created_at__gte=position)
    entries = {each for each in rows.values_list("cache_entry", flat=True)[:most] if each}
    try:
        return entries - set(cache.texts_of(entries))
    except Exception as error:  # noqa: BLE001 - of any cache: what cannot be asked may be there
        events.CACHE_READ_FAILED.log(error=error)
        return set()


def _is_rolled_up(row: dict[str, Any], rollups: dict[datetime.datetime, OperationRollup]) -> bool:
    """Return whether its quarter was surely added up after the row was committed."""
    rollup = rollups.get(bucket_of(row["created_at"]))
    return rollup is not None and row["recorded_at"] <= rollup.rolled_at - MARGIN


def _add(rows: Sequence[dict[str, Any]], rollups: dict[datetime.datetime, OperationRollup]) -> None:
    """Add rows that go to what their quarters keep of those that went before."""
    free = set(recovery.free_providers())
    found: dict[datetime.datetime, tuple[Tally, PurgedSums]] = {}
    for row in rows:
        bucket = bucket_of(row["created_at"])
        if bucket not in found:
            purged = rollups[bucket].purged
            found[bucket] = (
                (Tally(), PurgedSums())
                if purged is None
                else (tally_of(purged["tally"]), PurgedSums.from_json(purged["money"]))
            )
        tally, sums = found[bucket]
        tally.add(tuple(row[name] for name in COLUMNS))
        sums.add(row, is_free=row["provider"] in free)
    for bucket, (tally, sums) in found.items():
        purged = {"tally": tally.to_row(), "money": sums.to_json()}
        OperationRollup.objects.filter(pk=rollups[bucket].pk).update(purged=purged)
