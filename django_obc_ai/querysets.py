"""Query logic of the models; no other layer builds these figures."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from django.conf import settings
from django.db import connections, models
from django.db.models.functions import Lag, TruncDate
from django.utils import timezone

if TYPE_CHECKING:
    from django_obc_ai.models import AIOperation

RowT = TypeVar("RowT", bound=models.Model)
BreakdownKey: TypeAlias = Literal[
    "module", "operation_type", "model", "user", "day", "scope", "provider"
]
BREAKDOWN_FIELDS: dict[str, str] = {
    "module": "module",
    "operation_type": "operation_type",
    "model": "model_used",
    "user": "user_id",
    "day": "day",
    "scope": "scope",
    "provider": "provider",
}
#: In place of a provider's alias, of operations that `import_obcms` brought along.
IMPORTED = "obcms"
#: What a breakdown counts, in order.
COUNTS = ("operations", "failures", "cached", "coalesced", "tokens")
_START = 8
_TOKENS = (
    models.F("input_tokens")
    + models.F("output_tokens")
    + models.F("thinking_tokens")
    + models.F("tool_tokens")
)
#: The model that a cost is put down to: the one that answered, else the one asked for.
_PRICED_MODEL = models.Case(
    models.When(model_used="", then=models.F("model_requested")),
    default=models.F("model_used"),
)


def default_zone() -> zoneinfo.ZoneInfo:
    """Return the project's time zone, whatever zone is active."""
    return zoneinfo.ZoneInfo(timezone.get_default_timezone_name())


def current_day() -> datetime.date:
    """Return today in the project's time zone, whatever zone is active."""
    now = timezone.now()  # without a zone where USE_TZ is False
    return timezone.localdate(now, timezone.get_default_timezone()) if now.tzinfo else now.date()


def day_bounds(
    first: datetime.date, last: datetime.date, zone: zoneinfo.ZoneInfo | None = None
) -> tuple[datetime.datetime, datetime.datetime]:
    """Return [start, end) of the days first to last, in the project's time zone by default.

    Local midnights become instants before anything is compared, so days of 23 and of 25
    hours come out right.
    """
    zone = zone or default_zone()
    start = datetime.datetime.combine(first, datetime.time(), tzinfo=zone)
    end = datetime.datetime.combine(last + datetime.timedelta(days=1), datetime.time(), tzinfo=zone)
    if not settings.USE_TZ:  # the database holds local times without a zone
        return start.replace(tzinfo=None), end.replace(tzinfo=None)
    return start.astimezone(datetime.UTC), end.astimezone(datetime.UTC)


def _day(zone: zoneinfo.ZoneInfo | None = None) -> TruncDate:
    return TruncDate("created_at", tzinfo=(zone or default_zone()) if settings.USE_TZ else None)


def is_imported(provider: str, attempts: int) -> bool:
    """Return whether an operation was imported, and not made by this package.

    A provider may be called `IMPORTED`, too; its calls that cost something have attempts.
    """
    return provider == IMPORTED and not attempts


def start_of_hash() -> models.Func:
    """Return the expression that an index keeps of each prompt's hash.

    Its numbers are part of the text: SQLite finds no index for bound ones.
    """
    return models.Func(
        models.F("prompt_hash"),
        function="SUBSTR",
        template=f"%(function)s(%(expressions)s, 1, {_START})",
        output_field=models.CharField(),
    )


def fell_back() -> models.Func:
    """Return the condition that another provider answered than the one that was asked.

    As in `start_of_hash`, its text is that of an index.
    """
    return models.Func(
        models.F("fallback_from"),
        template="%(expressions)s <> ''",
        output_field=models.BooleanField(),
    )


class BoundedQuerySet(models.QuerySet[RowT]):
    """Rows of a table of any length that has a ``created_at``: what is read of it is bounded."""

    def count_up_to(self, most: int) -> int:
        """Return how many rows there are, or ``most`` if there are more; reads no more than that.

        An index that holds the columns filtered by is all that is read.
        """
        return self.order_by().values("created_at")[:most].count()

    def estimated_count(self) -> int | None:
        """Return about how many rows the whole table has, as its statistics say.

        None where the database keeps none (SQLite), or has not gathered them yet.
        """
        connection = connections[self.db]
        if connection.vendor != "postgresql":
            return None
        table = connection.ops.quote_name(self.model._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)", [table]
            )
            row = cursor.fetchone()
        return None if row is None or row[0] < 0 else int(row[0])

    def values_in_use(self, field: str, *, most: int) -> list[str]:
        """Return the values of a text column that an index begins with, in order.

        Each is looked up behind the one before, so that what it takes is a matter of how many
        values there are, and not of how many rows.

        Args:
            field: Name of the column.
            most: Stop at so many.
        """
        rows = self.order_by(field).values_list(field, flat=True)
        found: list[str] = []
        after = rows
        while len(found) < most and (value := after.first()) is not None:
            found.append(value)
            after = rows.filter(**{f"{field}__gt": value})
        return found


class AIOperationQuerySet(BoundedQuerySet["AIOperation"]):
    """Sums and breakdowns of the ledger; all sums are integer sums."""

    def between(
        self, first: datetime.date, last: datetime.date, zone: zoneinfo.ZoneInfo | None = None
    ) -> AIOperationQuerySet:
        """Return the rows of the days first to last, in the project's time zone by default."""
        start, end = day_bounds(first, last, zone)
        return self.filter(created_at__gte=start, created_at__lt=end)

    def priced_as(self, model: str) -> AIOperationQuerySet:
        """Return the calls put down to a model: it answered, or else was asked for."""
        names = [model, f"models/{model}"]
        is_used = models.Q(model_used__in=names)
        return self.filter(is_used | models.Q(model_used="", model_requested__in=names))

    def priced_models(self) -> list[str]:
        """Return the models that calls are put down to, in order."""
        rows = self.order_by().values(name=_PRICED_MODEL).annotate(n=models.Count("*"))
        return sorted({row["name"] for row in rows} - {""})

    def made_here(self) -> AIOperationQuerySet:
        """Return the calls of this package, without those that were imported: see `is_imported`."""
        return self.exclude(provider=IMPORTED, attempts=0)

    def paid(self) -> AIOperationQuerySet:
        """Return the calls that were answered and cost money."""
        return self.filter(success=True, cached=False, cost_usd__gt=0)

    def paid_again(self) -> Iterator[tuple[AIOperation, float]]:
        """Yield what was paid for although the same prompt had been, and the seconds between.

        "Same" means the same tenant, model and prompt, within these rows.
        """
        same = [models.F("scope"), models.F("model_requested"), models.F("prompt_hash")]
        before = models.Window(
            Lag("created_at"), partition_by=same, order_by=[models.F("created_at")]
        )
        rows = self.paid().exclude(prompt_hash="").order_by().annotate(paid_before=before)
        row: Any  # the stubs do not know what annotate() adds in a method of its own model
        for row in rows.filter(paid_before__isnull=False).iterator(chunk_size=2000):
            yield row, (row.created_at - row.paid_before).total_seconds()

    def daily_by_model(self, zone: zoneinfo.ZoneInfo | None = None) -> list[dict[str, Any]]:
        """Return cost by day and model, in order.

        Each row has ``day``, ``priced_model``, ``known`` (Decimal US dollars of rows whose cost
        is known), ``presumed`` (of the others) and ``unknown`` (how many those are).
        """
        known = models.Q(cost_known=True)
        nothing = Decimal(0)
        grouped = (
            self.order_by()
            .values(day=_day(zone), priced_model=_PRICED_MODEL)
            .annotate(
                known=models.Sum("cost_usd", filter=known, default=nothing),
                presumed=models.Sum("cost_usd", filter=~known, default=nothing),
                unknown=models.Count(models.Value(1), filter=~known),
            )
            .order_by("day", "priced_model")
        )
        return [dict(row) for row in grouped]

    def repeated_prompts(self, most: int) -> list[dict[str, Any]]:
        """Return prompts that were paid for more than once, those that cost most first.

        Each row has ``prompt_hash``, ``module``, ``times`` and ``spent`` (Decimal US dollars).
        """
        rows = self.paid().exclude(prompt_hash="").order_by().values("prompt_hash", "module")
        counted = rows.annotate(times=models.Count("*"), spent=models.Sum("cost_usd"))
        return [dict(row) for row in counted.filter(times__gt=1).order_by("-spent")[:most]]

    def failures_by_category(self) -> list[dict[str, Any]]:
        """Return ``error_category`` and ``count`` of failed calls, most frequent first."""
        rows = self.filter(success=False).order_by().values("error_category")
        counted = rows.annotate(count=models.Count("*")).order_by("-count", "error_category")
        return [dict(row) for row in counted]

    def total_cost(self) -> Decimal:
        """Return the summed cost in US dollars, exact to the nano-dollar."""
        total: Decimal = self.aggregate(total=models.Sum("cost_usd", default=Decimal(0)))["total"]
        return total

    def total_saved(self) -> Decimal:
        """Return what cached and coalesced answers had cost when paid for, in US dollars."""
        total: Decimal = self.aggregate(total=models.Sum("saved_usd", default=Decimal(0)))["total"]
        return total

    def spent_by(self, column: str | None) -> list[dict[str, Any]]:
        """Return ``value`` of a column, ``spent``, ``tokens`` and ``requests``, unordered.

        Args:
            column: None adds up all rows, as one of value None.
        """
        sums = {
            "spent": models.Sum("cost_usd", default=Decimal(0)),
            "tokens": models.Sum(_TOKENS, default=0),
            "requests": models.Sum("attempts", default=0),
        }
        if column is None:
            return [{"value": None, **self.order_by().aggregate(**sums)}]
        grouped = self.order_by().values(value=models.F(column)).annotate(**sums)
        return [dict(row) for row in grouped]

    def breakdown(self, by: BreakdownKey) -> list[dict[str, Any]]:
        """Return cost, operations and tokens by one property, dearest first.

        Days come in order of time. Each row has ``key``, ``cost`` (Decimal US dollars)
        and the `COUNTS`.
        """
        rows = self.annotate(day=_day()) if by == "day" else self
        column = BREAKDOWN_FIELDS[by]
        grouped = (
            rows.order_by()
            .values(key=models.F(column))
            .annotate(
                cost=models.Sum("cost_usd"),
                # Not of "id": what is counted would have to be in the index, too.
                operations=models.Count("*"),
                failures=models.Count(models.Value(1), filter=models.Q(success=False)),
                cached=models.Count(models.Value(1), filter=models.Q(cached=True)),
                coalesced=models.Count(
                    models.Value(1), filter=models.Q(coalesced=True, success=True)
                ),
                tokens=models.Sum(_TOKENS),
            )
        )
        ordered = grouped.order_by("key" if by == "day" else "-cost", "key")
        return [dict(row) for row in ordered]

    def fallen_back(self) -> AIOperationQuerySet:
        """Return the operations that another provider answered than the one that was asked."""
        return self.filter(fell_back())

    def cache_statistics(self, by: Sequence[str]) -> list[dict[str, Any]]:
        """Return what the response cache did for calls that used it, by some columns, in order.

        Each row has the columns, and ``hits``, ``misses``, ``shared`` (coalesced), ``stores``,
        ``bytes`` and ``saved`` (Decimal US dollars).
        """
        is_own = models.Q(cached=False, coalesced=False)
        used = models.Q(cached=True) | models.Q(coalesced=True) | models.Q(stored_bytes__gte=0)
        one = models.Value(1)
        sums = {
            "hits": models.Count(one, filter=models.Q(cached=True)),
            "misses": models.Count(one, filter=is_own),
            "shared": models.Count(one, filter=models.Q(coalesced=True)),
            "stores": models.Count(one, filter=is_own & models.Q(stored_bytes__gt=0)),
            "bytes": models.Sum("stored_bytes", filter=is_own, default=0),
            "saved": models.Sum("saved_usd", default=Decimal(0)),
        }
        rows = self.filter(used).order_by()
        if not by:
            whole = rows.aggregate(**sums)
            return [whole] if whole["hits"] + whole["misses"] + whole["shared"] else []
        return [dict(row) for row in rows.values(*by).annotate(**sums).order_by(*by)]

    def of_prompt(self, prompt_hash: str) -> AIOperationQuerySet:
        """Return the operations of one prompt."""
        rows: Any = self.alias(start_of_hash=start_of_hash())  # alias() adds what stubs do not know
        # A range of one: of two equalities SQLite makes a constant, and finds no index for it.
        same = (prompt_hash, prompt_hash)
        found: AIOperationQuerySet = rows.filter(
            start_of_hash=prompt_hash[:_START], prompt_hash__range=same
        )
        return found

    def in_parts(self, columns: Sequence[str], *, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield values of all rows, the newest first, in lists of at most ``size``.

        Each list is a query of its own that goes on where the one before ended: in between,
        nothing is open in the database, and rows that are added meanwhile do not come.

        Args:
            columns: What each row holds; "created_at" and "pk" are put before them.
            size: At least 1.
        """
        rows: Any = self.order_by("-created_at", "-pk")
        part = list(rows.values_list("created_at", "pk", *columns)[:size])
        while part:
            yield part
            if len(part) < size:
                return
            at, key = part[-1][:2]
            older = models.Q(created_at__lt=at) | models.Q(created_at=at, pk__lt=key)
            rest = rows.filter(older, created_at__lte=at)
            part = list(rest.values_list("created_at", "pk", *columns)[:size])
