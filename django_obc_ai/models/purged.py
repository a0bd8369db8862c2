"""What is kept of operations that were purged: their sums, by quarters of an hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django_obc_ai.querysets import is_imported
from django_obc_ai.types import nano_from_usd

#: What sums of purged operations are kept by, and the column that it is.
PURGED_BY: dict[str, str] = {
    "module": "module",
    "operation_type": "operation_type",
    "model": "model_used",
    "user": "user_id",
    "scope": "scope",
    "provider": "provider",
    "model_requested": "model_requested",
}
#: How many amounts each value has; see `PurgedSums.by`.
WIDTH = 8


@dataclass(slots=True)
class PurgedSums:
    """What purged operations of a quarter of an hour come to.

    Attributes:
        by: By dimension and value: operations, failures, cached, coalesced, nano-dollars, tokens,
            and the tokens and requests that budgets count: not of cached and coalesced answers,
            nor of providers that were free when the rows were purged, nor of imported operations.
        priced: By the model that a cost is put down to: nano-dollars known and presumed, and how
            many are presumed.
        errors: How many failed, by category.
        saved_nano: What cached and coalesced answers had cost, in nano-dollars.
        imported: By dimension and value: the nano-dollars of imported operations among those of
            ``by``, which no budget counts.
    """

    by: dict[str, dict[str, list[int]]] = field(
        default_factory=lambda: {name: {} for name in PURGED_BY}
    )
    priced: dict[str, list[int]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    saved_nano: int = 0
    imported: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any], *, is_free: bool) -> None:
        """Add an operation, given by the names of its columns."""
        nano = nano_from_usd(row["cost_usd"])
        tokens = sum(row[f"{kind}_tokens"] for kind in ("input", "output", "thinking", "tool"))
        is_foreign = is_imported(row["provider"], row["attempts"])
        is_counted = not (row["cached"] or row["coalesced"] or is_free or is_foreign)
        counted = (tokens, row["attempts"]) if is_counted else (0, 0)
        success, cached = row["success"], row["cached"]
        coalesced = row["coalesced"] and success
        amounts = (1, int(not success), int(cached), int(coalesced), nano, tokens, *counted)
        for name, column in PURGED_BY.items():
            value = "" if row[column] is None else str(row[column])
            add(self.by[name].setdefault(value, [0] * WIDTH), amounts)
            if is_foreign:
                values = self.imported.setdefault(name, {})
                values[value] = values.get(value, 0) + nano
        known = row["cost_known"]
        priced = self.priced.setdefault(row["model_used"] or row["model_requested"], [0, 0, 0])
        add(priced, (nano if known else 0, 0 if known else nano, int(not known)))
        if not success:
            category = row["error_category"]
            self.errors[category] = self.errors.get(category, 0) + 1
        self.saved_nano += nano_from_usd(row["saved_usd"])

    @property
    def total(self) -> list[int]:
        """Return the amounts of all together."""
        whole = [0] * WIDTH
        for amounts in self.by["module"].values():
            add(whole, amounts)
        return whole

    def counted(self, name: str | None) -> Iterator[tuple[str, tuple[int, int, int]]]:
        """Yield nano-dollars, tokens and requests that budgets count, by value of a dimension.

        Args:
            name: The dimension; None adds all up, as the value "".
        """
        imported = self.imported.get(name or "module", {})
        if name is None:
            imported = {"": sum(imported.values())}
        parts = {"": self.total} if name is None else self.by[name]
        for value, (*_, nano, _, tokens, requests) in parts.items():
            yield value, (nano - imported.get(value, 0), tokens, requests)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {
            "by": self.by,
            "priced": self.priced,
            "errors": self.errors,
            "saved_nano": self.saved_nano,
            "imported": self.imported,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PurgedSums:
        """Return what `to_json` wrote."""
        return cls(**values)


def add(mine: list[int], others: Sequence[int]) -> None:
    """Add as many whole numbers to those of a list."""
    for at, amount in enumerate(others):
        mine[at] += amount
