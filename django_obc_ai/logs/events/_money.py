"""Events of budgets and of the ledger."""

from __future__ import annotations

from logging import ERROR, WARNING

from django_obc_ai.logs.event import OFTEN, Event

# --- budget ---------------------------------------------------------------------------------------
BUDGET_REFUSED = Event(
    name="budget.refused",
    level=WARNING,
    message="The budget %(key)s refused a call.",
    fields=("key", "operation_id", "operation_type", "ai_module"),
    every_seconds=OFTEN,
)
BUDGET_THRESHOLD = Event(
    name="budget.threshold",
    level=WARNING,
    message="%(text)s",
    fields=("text", "key", "percent"),
)
BUDGET_THRESHOLD_CRITICAL = Event(
    name="budget.threshold_critical",
    level=ERROR,
    message="%(text)s",
    fields=("text", "key", "percent"),
)
BUDGET_ALERT_NOT_STORED = Event(
    name="budget.alert_not_stored",
    level=ERROR,
    message="The alert %(key)s, %(percent)d %%, was not stored; it comes later.",
    fields=("key", "percent"),
    every_seconds=OFTEN,
)
BUDGET_MAIL_FAILED = Event(
    name="budget.mail_failed",
    level=ERROR,
    message="The mail about the budget %(key)s was not sent.",
    fields=("key",),
)
BUDGET_RECEIVER_FAILED = Event(
    name="budget.receiver_failed",
    level=ERROR,
    message="A receiver of budget_threshold_reached failed: %(receiver)s.",
    fields=("receiver",),
)
BUDGET_SETTLE_FAILED = Event(
    name="budget.settle_failed",
    level=ERROR,
    message="Reservation %(reservation)s stays held: settling failed. It is tried again.",
    fields=("reservation",),
    every_seconds=OFTEN,
)
BUDGET_STAND_IN_ASKED = Event(
    name="budget.stand_in_asked",
    level=WARNING,
    message="The cost store failed; the stand-in %(store)r is asked.",
    fields=("store",),
    every_seconds=OFTEN,
)
BUDGET_SWEEP_FAILED = Event(
    name="budget.sweep_failed",
    level=WARNING,
    message="Expired holds of the cost store %(store)r wait for their rows.",
    fields=("store",),
    every_seconds=OFTEN,
)
BUDGET_LEASES_NOT_RENEWED = Event(
    name="budget.leases_not_renewed",
    level=WARNING,
    message="Leases of calls under way were not renewed.",
    every_seconds=OFTEN,
)
BUDGET_HOLD_ABANDONED = Event(
    name="budget.hold_abandoned",
    level=WARNING,
    message="Reservation %(reservation)s was not settled by %(owner)s: $%(cost_usd).9f is booked.",
    fields=("reservation", "owner", "cost_usd"),
)
BUDGET_STORE_REBUILT = Event(
    name="budget.store_rebuilt",
    level=WARNING,
    message="The totals of the cost store %(store)r were rebuilt from the ledger.",
    fields=("store",),
)

# --- ledger ---------------------------------------------------------------------------------------
LEDGER_SPOOLED = Event(
    name="ledger.spooled",
    level=WARNING,
    message="AIOperation %(operation_id)s waits in the spool.",
    fields=("operation_id",),
    every_seconds=OFTEN,
)
LEDGER_LOST = Event(
    name="ledger.lost",
    level=ERROR,
    message="AIOperation %(operation_id)s was not stored: $%(cost_usd).9f, model %(model)s,"
    " %(tokens)d tokens, outcome %(outcome)s.",
    fields=("operation_id", "cost_usd", "model", "tokens", "outcome"),
)
LEDGER_WITHOUT_SPOOL = Event(
    name="ledger.without_spool",
    level=WARNING,
    message="Without a spool, a rollback will take AIOperation %(operation_id)s.",
    fields=("operation_id",),
    every_seconds=OFTEN,
)
LEDGER_ABANDONED = Event(
    name="ledger.abandoned",
    level=WARNING,
    message="A process died during AIOperation %(operation_id)s; $%(cost_usd).9f are presumed"
    " spent.",
    fields=("operation_id", "cost_usd"),
)
LEDGER_REFUSED = Event(
    name="ledger.refused",
    level=ERROR,
    message="The spooled AIOperation %(operation_id)s is refused for good.",
    fields=("operation_id",),
)
LEDGER_SPOOL_WAITS = Event(
    name="ledger.spool_waits",
    level=WARNING,
    message="The spool waits: the database failed.",
    every_seconds=OFTEN,
)
LEDGER_SPOOL_FAILED = Event(
    name="ledger.spool_failed",
    level=ERROR,
    message="The spool could not be taken up; it waits.",
    every_seconds=OFTEN,
)
LEDGER_SPOOL_UNWRITABLE = Event(
    name="ledger.spool_unwritable",
    level=WARNING,
    message="The spool %(folder)s cannot be written.",
    fields=("folder",),
    every_seconds=OFTEN,
)
LEDGER_SPOOL_UNREADABLE = Event(
    name="ledger.spool_unreadable",
    level=ERROR,
    message="The spooled operation %(file)s cannot be read and was set aside.",
    fields=("file",),
)
LEDGER_NOT_ANNOUNCED = Event(
    name="ledger.not_announced",
    level=WARNING,
    message="A call is not announced in %(folder)s.",
    fields=("folder",),
    every_seconds=OFTEN,
)
LEDGER_NOT_WITHDRAWN = Event(
    name="ledger.not_withdrawn",
    level=WARNING,
    message="An announcement cannot be withdrawn.",
    every_seconds=OFTEN,
)
LEDGER_RECEIVER_FAILED = Event(
    name="ledger.receiver_failed",
    level=ERROR,
    message="A receiver of operation_finished failed: %(receiver)s.",
    fields=("receiver",),
    every_seconds=OFTEN,
)
BUDGET_CHANGE_NOT_TOLD = Event(
    name="budget.change_not_told",
    level=WARNING,
    message="Other processes learn of changed budgets within a second: the cost store %(store)r"
    " was not told.",
    fields=("store",),
    every_seconds=OFTEN,
)
LEDGER_ROWS_NOT_KEPT = Event(
    name="ledger.rows_not_kept",
    level=WARNING,
    message="Rows of calls are not kept in Redis but on the disk of this machine.",
    every_seconds=OFTEN,
)
LEDGER_ROWS_WAIT = Event(
    name="ledger.rows_wait",
    level=WARNING,
    message="Rows of calls stay in Redis, which could not be asked; they are taken up later.",
    every_seconds=OFTEN,
)
