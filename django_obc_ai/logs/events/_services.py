"""Events of indexes, search, chat, health, stored content and metrics."""

from __future__ import annotations

from logging import ERROR, INFO, WARNING

from django_obc_ai.logs.event import OFTEN, Event

# --- indexes, vector stores and search ------------------------------------------------------------
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
    every_seconds=OFTEN,
)
INDEXES_SWEEP_FAILED = Event(
    name="indexes.sweep_failed",
    level=ERROR,
    message="The outbox of the index %(index)r could not be worked off.",
    fields=("index",),
    every_seconds=OFTEN,
)
INDEXES_CHANGES_TOO_FAST = Event(
    name="indexes.changes_too_fast",
    level=WARNING,
    message="The index %(index)r: %(objects)d objects change faster than they can be embedded;"
    " they stay in the outbox.",
    fields=("index", "objects"),
    every_seconds=OFTEN,
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
    every_seconds=OFTEN,
)
VECTOR_STORES_APPROXIMATE_BUILT = Event(
    name="vector_stores.approximate_built",
    level=INFO,
    message="The approximate index of %(index)r was built: %(kind)s, %(chunks)d chunks,"
    " %(seconds)s s.",
    fields=("index", "kind", "chunks", "seconds"),
)
VECTOR_STORES_APPROXIMATE_NOT_BUILT = Event(
    name="vector_stores.approximate_not_built",
    level=ERROR,
    message="The approximate index of %(index)r was not built; it is searched exactly.",
    fields=("index",),
    every_seconds=OFTEN,
)
LEXICAL_STORES_SNAPSHOT_SET_ASIDE = Event(
    name="lexical_stores.snapshot_set_aside",
    level=WARNING,
    message="The words of the index %(index)r cannot be read from their files: %(reason)s. They are"
    " now in %(folder)s.",
    fields=("index", "reason", "folder"),
)
LEXICAL_STORES_SNAPSHOT_NOT_WRITTEN = Event(
    name="lexical_stores.snapshot_not_written",
    level=ERROR,
    message="The next files of the words of the index %(index)r were not written.",
    fields=("index",),
    every_seconds=OFTEN,
)
INDEXES_RECALL_ALLOWS = Event(
    name="indexes.recall_allows",
    level=INFO,
    message="The index %(index)r is searched approximately: recall@%(k)d is %(recall).3f, at least"
    " %(floor).3f.",
    fields=("index", "k", "recall", "floor"),
)
INDEXES_RECALL_TOO_LOW = Event(
    name="indexes.recall_too_low",
    level=WARNING,
    message="The index %(index)r is searched exactly: recall@%(k)d would be %(recall).3f, below"
    " %(floor).3f. See docs/howto/approximate-search.md.",
    fields=("index", "k", "recall", "floor"),
)
INDEXES_RECALL_NOT_MEASURED = Event(
    name="indexes.recall_not_measured",
    level=WARNING,
    message="The recall of the index %(index)r was not measured; it is searched as before."
    " Run: manage.py ai_index %(index)s --measure-recall",
    fields=("index",),
)
SEARCH_INDEX_LEFT_OUT = Event(
    name="search.index_left_out",
    level=WARNING,
    message="search_all() leaves the index %(index)r out.",
    fields=("index",),
    every_seconds=OFTEN,
)
SEARCH_NOT_RERANKED = Event(
    name="search.not_reranked",
    level=ERROR,
    message="The results of a search in the index %(index)r were not put in order by its reranker.",
    fields=("index",),
    every_seconds=OFTEN,
)

# --- chat and health ------------------------------------------------------------------------------
CHAT_NOT_ANSWERED = Event(
    name="chat.not_answered",
    level=WARNING,
    message="A question was not answered.",
    every_seconds=OFTEN,
)
CHAT_NO_SEARCH = Event(
    name="chat.no_search",
    level=WARNING,
    message="A question was answered without a search.",
    every_seconds=OFTEN,
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
WEB_STREAM_FAILED = Event(
    name="web.stream_failed",
    level=ERROR,
    message="A stream of the chat broke off.",
    every_seconds=OFTEN,
)
WEB_REQUEST_FAILED = Event(
    name="web.request_failed",
    level=ERROR,
    message="A request to the REST API failed unexpectedly.",
    every_seconds=OFTEN,
)
WEB_THROTTLE_AWAY = Event(
    name="web.throttle_away",
    level=ERROR,
    message="Requests are not counted, since the cache cannot be reached.",
    every_seconds=OFTEN,
)
HEALTH_CHECK_FAILED = Event(
    name="health.check_failed",
    level=ERROR,
    message="The health check of %(part)s failed.",
    fields=("part",),
    every_seconds=OFTEN,
)
HEALTH_WARNING = Event(
    name="health.warning",
    level=WARNING,
    message="A probe found %(part)s to be no fault, and yet worth a look: %(text)s",
    fields=("part", "text"),
    every_seconds=600.0,
)

# --- stored content, metrics and telemetry --------------------------------------------------------
CONTENT_NOT_STORED = Event(
    name="content.not_stored",
    level=WARNING,
    message="The texts of AIOperation %(operation_id)s are not stored.",
    fields=("operation_id",),
    every_seconds=OFTEN,
)
METRICS_NOT_ROLLED_UP = Event(
    name="metrics.not_rolled_up",
    level=WARNING,
    message="The ledger is not added up yet; run manage.py ai_rollup once.",
    every_seconds=OFTEN,
)
METRICS_PART_FAILED = Event(
    name="metrics.part_failed",
    level=ERROR,
    message="The metrics of the part %(part)r cannot be read.",
    fields=("part",),
    every_seconds=OFTEN,
)
TELEMETRY_FAILED = Event(
    name="telemetry.failed",
    level=ERROR,
    message="Telemetry failed, and calls go on without it.",
    every_seconds=600.0,
)
