"""Events of rows on their way into the ledger, and of totals that go by it."""

from __future__ import annotations

from logging import WARNING

from django_obc_ai.logs.event import Event

_OFTEN = 30.0

BUDGET_STORE_REBUILT = Event(
    name="budget.store_rebuilt",
    level=WARNING,
    message="The totals of the cost store %(store)r were rebuilt from the ledger.",
    fields=("store",),
)
BUDGET_CHANGE_NOT_TOLD = Event(
    name="budget.change_not_told",
    level=WARNING,
    message="Other processes learn of changed budgets within a second: the cost store %(store)r"
    " was not told.",
    fields=("store",),
    every_seconds=_OFTEN,
)
LEDGER_ROWS_NOT_KEPT = Event(
    name="ledger.rows_not_kept",
    level=WARNING,
    message="Rows of calls are not kept in Redis but on the disk of this machine.",
    every_seconds=_OFTEN,
)
LEDGER_ROWS_WAIT = Event(
    name="ledger.rows_wait",
    level=WARNING,
    message="Rows of calls stay in Redis, which could not be asked; they are taken up later.",
    every_seconds=_OFTEN,
)
