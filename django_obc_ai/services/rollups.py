"""Keeping the rollups of the ledger, and reading sums of any days from them.

Closed quarters of an hour are rolled up once; those that rows were recorded in afterwards are
rolled up anew. What is still open is added up from the rows themselves, so that every sum is
that of the rows, at any time.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from django.utils import timezone

from django_obc_ai.models import AIOperation, OperationRollup, RollupMark
from django_obc_ai.models.ledger import locked
from django_obc_ai.querysets import day_bounds
from django_obc_ai.services.tally import COLUMNS, DIMENSIONS, Tally, tally_of

BUCKET = datetime.timedelta(minutes=15)
#: A row is committed at most so long after it was recorded, clocks of several machines
#: included; a quarter of an hour is closed so long after its end.
MARGIN = datetime.timedelta(minutes=5)
_DAYS_KEPT_AT_ONCE = 7
#: Rolled up in one transaction, for whose length nobody else rolls up.
_SPAN = datetime.timedelta(hours=6)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def bucket_of(moment: datetime.datetime) -> datetime.datetime:
    """Return the first instant of a moment's quarter of an hour."""
    epoch = _EPOCH if moment.tzinfo is not None else _EPOCH.replace(tzinfo=None)
    return epoch + (moment - epoch) // BUCKET * BUCKET


def roll_up(*, most: int | None = None) -> int:
    """Bring the rollups up to the ledger; return how many quarters of an hour are left.

    Args:
        most: Roll up so many at most, the oldest first; None does all.
    """
    RollupMark.objects.get_or_create(pk=1)
    now = timezone.now()
    open_from = bucket_of(now - MARGIN)
    waiting = [each for each in _changed() if each < open_from]
    now_done = waiting if most is None else waiting[:most]
    for group in _groups(now_done):
        _roll(group, now)
    left = len(waiting) - len(now_done)
    if not left:
        # Whatever began in an open bucket was recorded later than its first instant.
        marks = RollupMark.objects.filter(pk=1).exclude(through__gt=open_from)
        marks.update(through=open_from)
    return left


def _changed() -> list[datetime.datetime]:
    """Return the buckets that rows were recorded in since the mark, in order."""
    through = RollupMark.objects.values_list("through", flat=True).get(pk=1)
    rows = AIOperation.objects.order_by()
    if through is not None:
        rows = rows.filter(recorded_at__gt=through - MARGIN)
    found: dict[datetime.datetime, datetime.datetime] = {}
    for began, recorded in rows.values_list("created_at", "recorded_at").iterator():
        bucket = bucket_of(began)
        found[bucket] = max(recorded, found.get(bucket, recorded))
    if not found:
        return []
    rolled = OperationRollup.objects.filter(is_day=False)
    between = rolled.filter(start__gte=min(found), start__lte=max(found))
    done = dict(between.values_list("start", "rolled_at"))
    # One that was rolled up long enough after its last row is up to date.
    return sorted(
        bucket
        for bucket, recorded in found.items()
        if bucket not in done or recorded > done[bucket] - MARGIN
    )


def _groups(buckets: Sequence[datetime.datetime]) -> Iterator[list[datetime.datetime]]:
    """Yield buckets that lie near enough together to be read at once."""
    group: list[datetime.datetime] = []
    for bucket in buckets:
        if group and bucket - group[0] >= _SPAN:
            yield group
            group = []
        group.append(bucket)
    if group:
        yield group


def _roll(buckets: Sequence[datetime.datetime], now: datetime.datetime) -> None:
    """Add up a few buckets and store what came out; the days that they are of are over."""
    with locked():
        tallies = {bucket: Tally() for bucket in buckets}
        purged = OperationRollup.objects.filter(is_day=False, start__in=buckets)
        for bucket, values in purged.values_list("start", "purged"):
            if values is not None:
                tallies[bucket].merge(tally_of(values["tally"]))
        for bucket, values in _rows(buckets[0], buckets[-1] + BUCKET):
            if bucket in tallies:
                tallies[bucket].add(values)
        _store({(each, each + BUCKET): tally for each, tally in tallies.items()}, now)
        days = OperationRollup.objects.filter(is_day=True)
        days.filter(start__lte=buckets[-1], end__gt=buckets[0]).delete()


def _store(
    tallies: Mapping[tuple[datetime.datetime, datetime.datetime], Tally],
    now: datetime.datetime,
    *,
    is_day: bool = False,
) -> None:
    OperationRollup.objects.bulk_create(
        [
            OperationRollup(start=start, end=end, is_day=is_day, rolled_at=now, **tally.to_row())
            for (start, end), tally in tallies.items()
        ],
        update_conflicts=True,
        unique_fields=["is_day", "start"],
        update_fields=["end", "rolled_at", "sums", *(f"by_{name}" for name in DIMENSIONS)],
    )


def _rows(
    start: datetime.datetime, end: datetime.datetime
) -> Iterator[tuple[datetime.datetime, tuple[Any, ...]]]:
    """Yield bucket and values of each operation that began in [start, end)."""
    rows = AIOperation.objects.filter(created_at__gte=start, created_at__lt=end).order_by()
    for began, *values in rows.values_list("created_at", *COLUMNS).iterator(chunk_size=2_000):
        yield bucket_of(began), tuple(values)


def read_days(
    first: datetime.date, last: datetime.date, *, by: Collection[str] = tuple(DIMENSIONS)
) -> dict[datetime.date, Tally]:
    """Return the tally of each day of the project's time zone from first to last, in order.

    Days that are over are kept, so that the next reader reads one row of each.

    Args:
        first: The first day.
        last: The last day.
        by: The dimensions that are wanted; those of the others stay empty.
    """
    number = (last - first).days + 1
    days = [first + datetime.timedelta(days=each) for each in range(number)]
    bounds = {day: day_bounds(day, day) for day in days}
    start, end = bounds[first][0], bounds[last][1]
    kept = OperationRollup.objects.filter(is_day=True, start__gte=start, start__lt=end)
    columns = ["sums", *(f"by_{name}" for name in DIMENSIONS if name in by)]
    stored = {
        (row["start"], row["end"]): tally_of(row)
        for row in kept.values("start", "end", *columns).iterator(chunk_size=500)
    }
    through = RollupMark.objects.values_list("through", flat=True).filter(pk=1).first()
    found, over = {}, {}
    for day, (begins, ends) in bounds.items():
        if (begins, ends) in stored:
            found[day] = stored[begins, ends]
        elif through is not None and ends <= through:
            over[day] = begins, ends
            found[day] = Tally()  # keeps the order
        else:
            found[day] = read(begins, ends, by=by)
    for part in _in_parts(over):
        found |= _keep(part)
    return found


def _in_parts(
    over: dict[datetime.date, tuple[datetime.datetime, datetime.datetime]],
) -> Iterator[dict[datetime.date, tuple[datetime.datetime, datetime.datetime]]]:
    days = list(over.items())
    for start in range(0, len(days), _DAYS_KEPT_AT_ONCE):
        yield dict(days[start : start + _DAYS_KEPT_AT_ONCE])


def _keep(
    over: Mapping[datetime.date, tuple[datetime.datetime, datetime.datetime]],
) -> dict[datetime.date, Tally]:
    """Add up days that are over from their quarters, and store what came out."""
    with locked():
        tallies = {day: read(start, end) for day, (start, end) in over.items()}
        kept = {over[day]: tally for day, tally in tallies.items()}
        _store(kept, timezone.now(), is_day=True)
    return tallies


def read(
    start: datetime.datetime, end: datetime.datetime, *, by: Collection[str] = tuple(DIMENSIONS)
) -> Tally:
    """Return the tally of what began in [start, end), both first instants of buckets."""
    whole = Tally()
    open_from = bucket_of(timezone.now() - MARGIN)
    columns = ["sums", *(f"by_{name}" for name in DIMENSIONS if name in by)]
    rows = OperationRollup.objects.filter(
        is_day=False, start__gte=start, start__lt=min(end, open_from)
    )
    for row in rows.values(*columns).iterator(chunk_size=2_000):
        whole.merge(tally_of(row))
    for _, values in _rows(max(start, open_from), end):
        whole.add(values)
    return whole
