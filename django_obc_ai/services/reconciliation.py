"""Do the books agree? Ledger, cost store and the provider's bill, compared and put right."""

from __future__ import annotations

import datetime
import uuid
import zoneinfo
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.gateway import policy, recovery
from django_obc_ai.gateway.alerts import describe
from django_obc_ai.models import AIOperation, CostCorrection, Ledger
from django_obc_ai.services import _corrections
from django_obc_ai.services._billing_export import BilledRow, ExportError, read_export
from django_obc_ai.types import nano_from_usd, usd_from_nano
from django_obc_ai.types.nano import EXACT

__all__ = ["BilledRow", "Drift", "ExportError", "Reconciliation", "StoreDrift", "read_export"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Ledger and bill of one model on one day.

    Attributes:
        day: In the time zone that was compared in.
        model: The model that answered, else the one that was asked for.
        known_usd: Sum of the operations whose cost is known.
        presumed_usd: Sum of those booked at a ceiling, or at 0 for want of a price.
        unknown: How many those are.
        purged_usd: Of the presumed sum, what belongs to purged operations and so stays.
        billed_usd: What the provider billed; None without a bill.
    """

    day: datetime.date
    model: str
    known_usd: Decimal = Decimal(0)
    presumed_usd: Decimal = Decimal(0)
    unknown: int = 0
    purged_usd: Decimal = Decimal(0)
    billed_usd: Decimal | None = None

    @property
    def ledger_usd(self) -> Decimal:
        """Return all that the ledger says was spent."""
        return EXACT.add(self.known_usd, self.presumed_usd)

    @property
    def drift_usd(self) -> Decimal:
        """Return bill minus ledger; 0 without a bill."""
        return Decimal(0) if self.billed_usd is None else self.billed_usd - self.ledger_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDrift:
    """A budget's total in the cost store beside the ledger's sum for the same period.

    Amounts are nano-dollars, tokens or requests, as the budget counts.

    Attributes:
        key: The store's key.
        unit: "usd", "tokens" or "requests".
        ledger: Sum of the operations of the period.
        spent: What the store has as spent.
        held: What it holds for calls in flight; such a key is not repaired.
        is_repaired: Whether the total was set to the ledger's sum.
    """

    key: str
    unit: str
    ledger: int
    spent: int
    held: int
    is_repaired: bool = False

    @property
    def drift(self) -> int:
        """Return store minus ledger."""
        return self.spent - self.ledger

    def __str__(self) -> str:
        """Return key and both amounts."""
        ledger, spent = (describe(self.unit, each) for each in (self.ledger, self.spent))
        return f"{self.key}: ledger {ledger}, store {spent}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """The result: every day and model, every budget key, and what was corrected."""

    rows: tuple[Drift, ...]
    store: tuple[StoreDrift, ...]
    corrected: int = 0
    run: uuid.UUID | None = None

    @property
    def by_model(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return ledger and bill by model, over all days."""
        sums: dict[str, tuple[Decimal, Decimal]] = {}
        for row in self.rows:
            ledger, billed = sums.get(row.model, (Decimal(0), Decimal(0)))
            sums[row.model] = (ledger + row.ledger_usd, billed + (row.billed_usd or 0))
        return sums

    def is_balanced(self, tolerance_usd: Decimal = Decimal(0)) -> bool:
        """Return whether no drift is above a tolerance by day and model, nor any in the store."""
        return all(abs(row.drift_usd) <= tolerance_usd for row in self.rows) and all(
            each.is_repaired or not each.drift for each in self.store
        )


def reconcile(
    first: datetime.date,
    last: datetime.date,
    *,
    bill: Iterable[BilledRow] | None = None,
    zone: zoneinfo.ZoneInfo | None = None,
    repair: bool = False,
    made_by: str = "",
) -> Reconciliation:
    """Compare the books of the days first to last, and with ``repair`` put them right.

    With a bill, operations whose cost is not known get their share of what the bill leaves
    after those whose cost is known, of the same day and model, once and with a trace: shares
    are in proportion to the ceilings and no larger than them; operations that were booked at 0
    for want of a price share the whole rest equally. What is left after that stays as drift:
    nothing else is ever changed to fit a bill, and of what was purged nothing at all. Then the
    cost store's totals are set to the ledger's sums, for every budget key that holds nothing for
    calls in flight.

    Args:
        first: First day.
        last: Last day, included.
        bill: What `read_export` returned; other days than these are left out.
        zone: Time zone of the days, that of the bill; the project's by default.
        repair: Change rows and totals; else only compare.
        made_by: Who did it, for the trace.

    Raises:
        CostStoreError: The store or the budgets cannot be asked.
        ValueError: The last day lies before the first.
    """
    if last < first:
        raise ValueError(f"The end {last} lies before the start {first}.")
    billed: dict[tuple[datetime.date, str], Decimal] | None = None
    if bill is not None:
        billed = defaultdict(Decimal)
        for each in bill:
            if first <= each.day <= last:
                billed[each.day, each.model] += each.cost_usd
    run = uuid.uuid4()
    rows = _compare(first, last, zone, billed)
    done: list[_corrections.Correction] = []
    if repair and billed is not None:
        wanted = [each for row in rows if row.unknown for each in _shares(row, zone)]
        kind = CostCorrection.Kind.BILLED
        done = _corrections.apply(wanted, kind=kind, made_by=made_by, run=run)
        rows = _compare(first, last, zone, billed) if done else rows
    store = _compare_store(first, last)
    if repair:
        store = _repair_store(store)
    return Reconciliation(
        rows=tuple(rows), store=tuple(store), corrected=len(done), run=run if done else None
    )


def known_models() -> list[str]:
    """Return the models that the ledger knows."""
    return Ledger().priced_models()


def _compare(
    first: datetime.date,
    last: datetime.date,
    zone: zoneinfo.ZoneInfo | None,
    billed: Mapping[tuple[datetime.date, str], Decimal] | None,
) -> list[Drift]:
    found: dict[tuple[datetime.date, str], Drift] = {}
    nothing = None if billed is None else Decimal(0)
    for row in Ledger.of_days(first, last, zone).daily_by_model(zone):
        day, model = row["day"], row["priced_model"].removeprefix("models/")
        known = found.get((day, model), Drift(day=day, model=model, billed_usd=nothing))
        found[day, model] = replace(
            known,
            known_usd=EXACT.add(known.known_usd, row["known"]),
            presumed_usd=EXACT.add(known.presumed_usd, row["presumed"]),
            unknown=known.unknown + row["unknown"],
            purged_usd=EXACT.add(known.purged_usd, row["purged"]),
        )
    for (day, model), amount in (billed or {}).items():
        known = found.get((day, model), Drift(day=day, model=model))
        found[day, model] = replace(known, billed_usd=amount)
    return [
        row for _, row in sorted(found.items()) if row.ledger_usd or row.billed_usd or row.unknown
    ]


def _shares(row: Drift, zone: zoneinfo.ZoneInfo | None) -> list[_corrections.Correction]:
    """Divide what the bill leaves among the operations whose cost is not known, exactly."""
    operations: list[Any] = list(
        AIOperation.objects.between(row.day, row.day, zone)
        .priced_as(row.model)
        .filter(cost_known=False)
        .order_by("created_at", "pk")
    )
    fixed = EXACT.add(row.known_usd, row.purged_usd)
    rest = max(0, nano_from_usd((row.billed_usd or Decimal(0)) - fixed))
    ceilings = [nano_from_usd(each.cost_usd) for each in operations]
    priced = min(rest, sum(ceilings))
    amounts = _divide(priced, ceilings)
    if 0 in ceilings:
        amounts = [
            own + more
            for own, more in zip(
                amounts, _divide(rest - priced, [int(not each) for each in ceilings]), strict=True
            )
        ]
    reason = (
        f"Bill of {row.day}, {row.model}: ${row.billed_usd:f}, of which ${fixed:f} fixed;"
        f" ${usd_from_nano(sum(amounts)):f} shared by {len(operations)} operations."
    )
    return [
        _corrections.Correction(
            operation_id=each.pk,
            old_cost_usd=each.cost_usd,
            new_cost_usd=usd_from_nano(amount),
            was_cost_known=False,
            reason=reason,
        )
        for each, amount in zip(operations, amounts, strict=True)
    ]


def _divide(amount: int, weights: list[int]) -> list[int]:
    """Divide a whole number in proportion to weights; the parts add up to it."""
    total, given, parts = sum(weights), 0, []
    seen = 0
    for weight in weights:
        seen += weight
        until = amount * seen // total if total else 0
        parts.append(until - given)
        given = until
    return parts


def _compare_store(first: datetime.date, last: datetime.date) -> list[StoreDrift]:
    periods = policy.periods_between(first, last)
    ledger = recovery.spent_by_key("default", periods)
    totals = cost_stores["default"].totals(list(ledger))
    return [
        StoreDrift(
            key=key,
            unit=policy.unit_of(key),
            ledger=spent,
            spent=totals[key].spent_nano,
            held=totals[key].held_nano,
        )
        for key, spent in ledger.items()
    ]


def _repair_store(store: list[StoreDrift]) -> list[StoreDrift]:
    """Set totals to the ledger's sums; what is settled in between is added to them."""
    wanted = {each.key: each.ledger for each in store if each.drift and not each.held}
    if not wanted or not cost_stores["default"].rebuild(lambda: wanted):
        return store
    return [replace(each, is_repaired=each.key in wanted) for each in store]
