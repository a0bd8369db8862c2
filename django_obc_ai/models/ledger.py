"""The whole ledger: its rows and, of those that were purged, their sums, asked as one."""

from __future__ import annotations

import datetime
import zoneinfo
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.db import connections, models, transaction
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.models.operations import AIOperation
from django_obc_ai.models.purged import PURGED_BY, WIDTH, PurgedSums, add
from django_obc_ai.models.rollups import OperationRollup, RollupMark
from django_obc_ai.querysets import COUNTS, BreakdownKey, day_bounds, default_zone
from django_obc_ai.types import nano_from_usd, usd_from_nano
from django_obc_ai.types.nano import EXACT

ResultT = TypeVar("ResultT")
ParamT = ParamSpec("ParamT")
_OF_COLUMN = {column: name for name, column in PURGED_BY.items()}
_ATTEMPTS = 3


@contextmanager
def locked(*, is_purge: bool = False) -> Iterator[None]:
    """Let nobody else write rollups or purge; on SQLite nobody writes at all."""
    alias = get_settings().database
    with transaction.atomic(using=alias):
        change = {"purges": models.F("purges") + 1} if is_purge else {"id": 1}
        RollupMark.objects.using(alias).filter(pk=1).update(**change)
        yield


def _purges() -> int:
    return RollupMark.objects.filter(pk=1).values_list("purges", flat=True).first() or 0


@contextmanager
def _one_moment() -> Iterator[None]:
    """Let all queries inside see the database as it is now, and lock nobody out if possible."""
    alias = get_settings().database
    connection = connections[alias]
    if connection.vendor == "sqlite":
        if connection.in_atomic_block:  # which is one moment already
            yield
            return
        with connection.cursor() as cursor:
            # Unlike BEGIN, which may be set to lock at once, it only reads.
            cursor.execute("SAVEPOINT obc_ai_moment")
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RELEASE obc_ai_moment")
    elif connection.vendor == "postgresql" and not connection.in_atomic_block:
        with transaction.atomic(using=alias):
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
    else:
        with locked():
            yield


def _steadily(read: Callable[ParamT, ResultT]) -> Callable[ParamT, ResultT]:
    """Read again where operations were purged in between: they would count twice, or not at all."""

    @wraps(read)
    def reading(*args: ParamT.args, **kwargs: ParamT.kwargs) -> ResultT:
        for _ in range(_ATTEMPTS):
            before = _purges()
            found = read(*args, **kwargs)
            if before == _purges():
                return found
        with _one_moment():
            return read(*args, **kwargs)

    return reading


class Ledger:
    """All operations of some time, for sums that a purge must not change."""

    def __init__(
        self,
        start: datetime.datetime | None = None,
        end: datetime.datetime | None = None,
        *,
        scope: str | None = None,
        user_id: Any = None,
    ) -> None:
        """Take [start, end), both first instants of quarters of an hour; None is no bound.

        Args:
            start: The first instant.
            end: The first instant after it.
            scope: One tenant; None takes all.
            user_id: One user; None takes all. Of a tenant's users all are taken, since purged
                sums know no parts of parts.
        """
        self.rows = AIOperation.objects.all()
        self._quarters = OperationRollup.objects.filter(is_day=False, purged__isnull=False)
        assert scope is None or user_id is None  # noqa: S101 - see the argument
        self._part: tuple[str, str] | None = None
        if scope is not None:
            self.rows, self._part = self.rows.filter(scope=scope), ("scope", scope)
        elif user_id is not None:
            self.rows, self._part = self.rows.filter(user_id=user_id), ("user", str(user_id))
        if start is not None:
            self.rows = self.rows.filter(created_at__gte=start)
            self._quarters = self._quarters.filter(start__gte=start)
        if end is not None:
            self.rows = self.rows.filter(created_at__lt=end)
            self._quarters = self._quarters.filter(start__lt=end)

    @classmethod
    def of_days(
        cls,
        first: datetime.date,
        last: datetime.date,
        zone: zoneinfo.ZoneInfo | None = None,
        *,
        scope: str | None = None,
        user_id: Any = None,
    ) -> Ledger:
        """Return that of the days first to last, in the project's time zone by default."""
        return cls(*day_bounds(first, last, zone), scope=scope, user_id=user_id)

    @_steadily
    def exists(self) -> bool:
        """Return whether there was any operation."""
        return self.rows.exists() or any(amounts[0] for _, amounts in self._amounts())

    @_steadily
    def total_cost(self) -> Decimal:
        """Return the summed cost in US dollars, exact to the nano-dollar."""
        nano = sum(amounts[4] for _, amounts in self._amounts())
        return EXACT.add(self.rows.total_cost(), usd_from_nano(nano))

    @_steadily
    def total_saved(self) -> Decimal:
        """See `AIOperationQuerySet.total_saved`."""
        nano = sum(sums.saved_nano for _, sums in self._purged())
        return EXACT.add(self.rows.total_saved(), usd_from_nano(nano))

    @_steadily
    def breakdown(self, by: BreakdownKey) -> list[dict[str, Any]]:
        """See `AIOperationQuerySet.breakdown`."""
        purged: dict[Any, list[int]] = defaultdict(lambda: [0] * WIDTH)
        if by == "day":
            for day, amounts in self._amounts():
                add(purged[_day_of(day)], amounts)
        else:
            for _, sums in self._purged():
                for value, amounts in sums.by[by].items():
                    add(purged[_typed(by, value)], amounts)
        rows = self.rows.breakdown(by)
        if not purged:
            return rows
        found = {row["key"]: row for row in rows}
        for key, (*counts, nano, tokens, _, _) in purged.items():
            old = found.get(key, {})
            added = dict(zip(COUNTS, (*counts, tokens), strict=True))
            found[key] = {
                "key": key,
                "cost": EXACT.add(old.get("cost", Decimal(0)), usd_from_nano(nano)),
                **{name: old.get(name, 0) + count for name, count in added.items()},
            }
        if by == "day":
            return sorted(found.values(), key=lambda row: row["key"])
        return sorted(found.values(), key=_dearest_first)

    @_steadily
    def failures_by_category(self) -> list[dict[str, Any]]:
        """See `AIOperationQuerySet.failures_by_category`."""
        counts = {row["error_category"]: row["count"] for row in self.rows.failures_by_category()}
        for _, sums in self._purged():
            for category, count in sums.errors.items():
                counts[category] = counts.get(category, 0) + count
        ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        return [{"error_category": category, "count": count} for category, count in ordered]

    @_steadily
    def presumed(self) -> tuple[int, Decimal]:
        """Return how many operations have no known cost, and what is presumed for them."""
        unknown = self.rows.filter(cost_known=False)
        count, nano = unknown.count(), 0
        for _, sums in self._purged():
            count += sum(each[2] for each in sums.priced.values())
            nano += sum(each[1] for each in sums.priced.values())
        return count, EXACT.add(unknown.total_cost(), usd_from_nano(nano))

    @_steadily
    def daily_by_model(self, zone: zoneinfo.ZoneInfo | None = None) -> list[dict[str, Any]]:
        """See `AIOperationQuerySet.daily_by_model`; here its ``purged`` is a part of presumed."""
        found = {
            (row["day"], row["priced_model"]): {**row, "purged": Decimal(0)}
            for row in self.rows.daily_by_model(zone)
        }
        nothing = {"known": Decimal(0), "presumed": Decimal(0), "unknown": 0, "purged": Decimal(0)}
        for start, sums in self._purged():
            for model, (known, presumed, unknown) in sums.priced.items():
                key = (_day_of(start, zone), model)
                row = found.setdefault(key, {"day": key[0], "priced_model": model, **nothing})
                row["known"] = EXACT.add(row["known"], usd_from_nano(known))
                for name in ("presumed", "purged"):
                    row[name] = EXACT.add(row[name], usd_from_nano(presumed))
                row["unknown"] += unknown
        return [row for _, row in sorted(found.items())]

    @_steadily
    def priced_models(self) -> list[str]:
        """Return the models that calls are put down to, in order."""
        purged = {model for _, sums in self._purged() for model in sums.priced}
        return sorted({*self.rows.priced_models(), *purged} - {""})

    @_steadily
    def spent_by(
        self, column: str | None, *, without: list[str] | None = None
    ) -> dict[str, tuple[int, int, int]]:
        """Return nano-dollars, tokens and requests as budgets count them, by value as text.

        Imported operations count for none: what another system spent must refuse no call of today.

        Args:
            column: None adds all up, as "".
            without: Aliases of providers whose calls are free.
        """
        rows = self.rows.made_here().filter(cached=False, coalesced=False)
        rows = rows.exclude(provider__in=without or ())
        found: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for row in rows.spent_by(column):
            value = "" if row["value"] is None else str(row["value"])
            add(found[value], (nano_from_usd(row["spent"]), row["tokens"], row["requests"]))
        for _, sums in self._purged():
            for value, amounts in sums.counted(None if column is None else _OF_COLUMN[column]):
                add(found[value], amounts)
        return {
            value: (nano, tokens, requests) for value, (nano, tokens, requests) in found.items()
        }

    def _purged(self) -> Iterator[tuple[datetime.datetime, PurgedSums]]:
        rows = self._quarters.order_by("start").values_list("start", "purged__money")
        for start, values in rows.iterator(chunk_size=500):
            yield start, PurgedSums.from_json(values)

    def _amounts(self) -> Iterator[tuple[datetime.datetime, list[int]]]:
        """Yield the amounts of each quarter, of the one tenant or user if it is one."""
        for start, sums in self._purged():
            if self._part is None:
                yield start, sums.total
            else:
                name, value = self._part
                if value in sums.by[name]:
                    yield start, sums.by[name][value]


def _dearest_first(row: dict[str, Any]) -> tuple[Any, ...]:
    """Order as the rows alone are: by cost, then by key; nobody is the last user."""
    key = row["key"]
    return -row["cost"], key is None, 0 if key is None else key


def _typed(by: str, value: str) -> Any:
    """Return a key as the column holds it."""
    if by != "user":
        return value
    users: Any = AIOperation._meta.get_field("user")  # a foreign key, which the stubs cannot know
    return users.target_field.to_python(value) if value else None


def _day_of(moment: datetime.datetime, zone: zoneinfo.ZoneInfo | None = None) -> datetime.date:
    if timezone.is_naive(moment):
        return moment.date()
    return moment.astimezone(zone or default_zone()).date()
