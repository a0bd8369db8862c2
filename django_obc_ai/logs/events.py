"""Every event that this package logs; docs/reference/logging.md has them in a table."""

from __future__ import annotations

from logging import DEBUG, ERROR, INFO, WARNING

from django_obc_ai.logs.event import Event

#: A fault that may come with every call is told once in so many seconds by each process.
_OFTEN = 30.0

# --- calls: one for each, in the thread of the caller --------------------------------------------
_CALL = (
    "operation_id", "operation_type", "ai_module", "provider", "model", "input_tokens",
    "cached_tokens", "output_tokens", "thinking_tokens", "cost_usd", "cost_known",
    "response_time_ms", "attempts", "cached", "outcome",
)  # fmt: skip
_CALL_TEXT = (
    "%(operation_type)s, %(model)s: %(outcome)s, %(input_tokens)d tokens in, %(output_tokens)d"
    " out, $%(cost_usd).9f, %(response_time_ms)d ms."
)
CALLS_FINISHED = Event(name="calls.finished", level=INFO, message=_CALL_TEXT, fields=_CALL)
CALLS_CACHED = Event(name="calls.cached", level=DEBUG, message=_CALL_TEXT, fields=_CALL)
CALLS_FAILED = Event(
    name="calls.failed", level=WARNING, message=_CALL_TEXT, fields=_CALL, every_seconds=10.0
)

# --- gateway -------------------------------------------------------------------------------------
GATEWAY_UNPRICED = Event(
    name="gateway.unpriced",
    level=WARNING,
    message="The model %(model)r has no price; its cost is not known.",
    fields=("model",),
    every_seconds=_OFTEN,
)
GATEWAY_FOREIGN_ERROR = Event(
    name="gateway.foreign_error",
    level=ERROR,
    message="The provider raised an error that is none of ours.",
)
GATEWAY_PAUSES_UNREAD = Event(
    name="gateway.pauses_unread",
    level=ERROR,
    message="The paused providers cannot be read; what was read last goes on to hold.",
    every_seconds=_OFTEN,
)

# --- budget --------------------------------------------------------------------------------------
BUDGET_REFUSED = Event(
    name="budget.refused",
    level=WARNING,
    message="The budget %(key)s refused a call.",
    fields=("key", "operation_id", "operation_type", "ai_module"),
    every_seconds=_OFTEN,
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
    every_seconds=_OFTEN,
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
    every_seconds=_OFTEN,
)
BUDGET_STAND_IN_ASKED = Event(
    name="budget.stand_in_asked",
    level=WARNING,
    message="The cost store failed; the stand-in %(store)r is asked.",
    fields=("store",),
    every_seconds=_OFTEN,
)
BUDGET_SWEEP_FAILED = Event(
    name="budget.sweep_failed",
    level=WARNING,
    message="Expired holds of the cost store %(store)r wait for their rows.",
    fields=("store",),
    every_seconds=_OFTEN,
)
BUDGET_LEASES_NOT_RENEWED = Event(
    name="budget.leases_not_renewed",
    level=WARNING,
    message="Leases in the cost store %(store)r were not renewed.",
    fields=("store",),
    every_seconds=_OFTEN,
)
BUDGET_HOLD_ABANDONED = Event(
    name="budget.hold_abandoned",
    level=WARNING,
    message="Reservation %(reservation)s was not settled by %(owner)s: $%(cost_usd).9f is booked.",
    fields=("reservation", "owner", "cost_usd"),
)
# --- ledger --------------------------------------------------------------------------------------
LEDGER_SPOOLED = Event(
    name="ledger.spooled",
    level=WARNING,
    message="AIOperation %(operation_id)s waits in the spool.",
    fields=("operation_id",),
    every_seconds=_OFTEN,
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
    every_seconds=_OFTEN,
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
    every_seconds=_OFTEN,
)
LEDGER_SPOOL_FAILED = Event(
    name="ledger.spool_failed",
    level=ERROR,
    message="The spool could not be taken up; it waits.",
    every_seconds=_OFTEN,
)
LEDGER_SPOOL_UNWRITABLE = Event(
    name="ledger.spool_unwritable",
    level=WARNING,
    message="The spool %(folder)s cannot be written.",
    fields=("folder",),
    every_seconds=_OFTEN,
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
    every_seconds=_OFTEN,
)
LEDGER_NOT_WITHDRAWN = Event(
    name="ledger.not_withdrawn",
    level=WARNING,
    message="An announcement cannot be withdrawn.",
    every_seconds=_OFTEN,
)
LEDGER_RECEIVER_FAILED = Event(
    name="ledger.receiver_failed",
    level=ERROR,
    message="A receiver of operation_finished failed: %(receiver)s.",
    fields=("receiver",),
    every_seconds=_OFTEN,
)

# --- cache ---------------------------------------------------------------------------------------
CACHE_READ_FAILED = Event(
    name="cache.read_failed",
    level=WARNING,
    message="The response cache failed to answer; the provider is called.",
    every_seconds=_OFTEN,
)
CACHE_WRITE_FAILED = Event(
    name="cache.write_failed",
    level=WARNING,
    message="The response cache did not store an answer.",
    every_seconds=_OFTEN,
)
CACHE_TAGS_FAILED = Event(
    name="cache.tags_failed",
    level=WARNING,
    message="The response cache failed to read tags.",
    every_seconds=_OFTEN,
)

# --- indexes, vector stores and search -----------------------------------------------------------
INDEXES_TEXT_FAILED = Event(
    name="indexes.text_failed",
    level=ERROR,
    message="The index %(index)r cannot read the text of %(object_key)s.",
    fields=("index", "object_key"),
    every_seconds=1.0,
)
INDEXES_UPDATE_FAILED = Event(
    name="indexes.update_failed",
    level=ERROR,
    message="The index %(index)r was not brought up to date; the changes stay in its outbox."
    " Run: manage.py ai_index %(index)s",
    fields=("index",),
    every_seconds=_OFTEN,
)
INDEXES_SWEEP_FAILED = Event(
    name="indexes.sweep_failed",
    level=ERROR,
    message="The outbox of the index %(index)r could not be worked off.",
    fields=("index",),
    every_seconds=_OFTEN,
)
INDEXES_CHANGES_TOO_FAST = Event(
    name="indexes.changes_too_fast",
    level=WARNING,
    message="The index %(index)r: %(objects)d objects change faster than they can be embedded;"
    " they stay in the outbox.",
    fields=("index", "objects"),
    every_seconds=_OFTEN,
)
VECTOR_STORES_SNAPSHOT_SET_ASIDE = Event(
    name="vector_stores.snapshot_set_aside",
    level=WARNING,
    message="A snapshot of the index %(index)r cannot be used: %(reason)s. It is now %(folder)s.",
    fields=("index", "reason", "folder"),
)
VECTOR_STORES_SNAPSHOT_NOT_WRITTEN = Event(
    name="vector_stores.snapshot_not_written",
    level=ERROR,
    message="The next snapshot of the index %(index)r was not written.",
    fields=("index",),
    every_seconds=_OFTEN,
)
SEARCH_INDEX_LEFT_OUT = Event(
    name="search.index_left_out",
    level=WARNING,
    message="search_all() leaves the index %(index)r out.",
    fields=("index",),
    every_seconds=_OFTEN,
)

# --- chat and health -----------------------------------------------------------------------------
CHAT_NOT_ANSWERED = Event(
    name="chat.not_answered",
    level=WARNING,
    message="A question was not answered.",
    every_seconds=_OFTEN,
)
CHAT_NO_SEARCH = Event(
    name="chat.no_search",
    level=WARNING,
    message="A question was answered without a search.",
    every_seconds=_OFTEN,
)
CHAT_PLAN_REFUSED = Event(
    name="chat.plan_refused",
    level=INFO,
    message="An earlier plan of a conversation is no longer allowed.",
)
CHAT_ANSWER_NOT_STORED = Event(
    name="chat.answer_not_stored",
    level=ERROR,
    message="An answer of the conversation %(conversation)s was not stored.",
    fields=("conversation",),
)
HEALTH_CHECK_FAILED = Event(
    name="health.check_failed",
    level=ERROR,
    message="The health check of %(part)s failed.",
    fields=("part",),
    every_seconds=_OFTEN,
)
HEALTH_WARNING = Event(
    name="health.warning",
    level=WARNING,
    message="A probe found %(part)s to be no fault, and yet worth a look: %(text)s",
    fields=("part", "text"),
    every_seconds=600.0,
)

# --- stored content, metrics and telemetry -------------------------------------------------------
CONTENT_NOT_STORED = Event(
    name="content.not_stored",
    level=WARNING,
    message="The texts of AIOperation %(operation_id)s are not stored.",
    fields=("operation_id",),
    every_seconds=_OFTEN,
)
METRICS_NOT_ROLLED_UP = Event(
    name="metrics.not_rolled_up",
    level=WARNING,
    message="The ledger is not added up yet; run manage.py ai_rollup once.",
    every_seconds=_OFTEN,
)
METRICS_PART_FAILED = Event(
    name="metrics.part_failed",
    level=ERROR,
    message="The metrics of the part %(part)r cannot be read.",
    fields=("part",),
    every_seconds=_OFTEN,
)
TELEMETRY_FAILED = Event(
    name="telemetry.failed",
    level=ERROR,
    message="Telemetry failed, and calls go on without it.",
    every_seconds=600.0,
)

from django_obc_ai.logs.ledger_events import *  # noqa: E402, F403

#: All of them by name.
EVENTS = {each.name: each for each in list(globals().values()) if isinstance(each, Event)}
