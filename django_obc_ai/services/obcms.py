"""Bringing along what the original system has recorded: operations and conversations.

Rows keep the original's keys, so a second run finds what is there and adds what is not; a run that
was killed goes on the same way. Operations go the ledger's own way, and its sums are theirs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db.models import Count

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway import inserts, retry
from django_obc_ai.gateway.rows import fit
from django_obc_ai.indexes import get_indexes
from django_obc_ai.models import AIOperation, OperationRollup
from django_obc_ai.querysets import IMPORTED
from django_obc_ai.services._obcms_conversations import import_conversations
from django_obc_ai.services._obcms_people import Owner, Owners
from django_obc_ai.services._obcms_tables import (
    OldContentType,
    OldEmbedding,
    OldOperation,
    batches_of,
    check_tables,
)
from django_obc_ai.services.rollups import bucket_of, roll_up
from django_obc_ai.types.nano import EXACT

__all__ = ["ImportReport", "LeftEmbeddings", "import_obcms"]

_AT_ONCE = 500
_MOST_TOKENS = 2**31 - 1  # of an integer, which SQLite does not hold anybody to
_NO_MONEY = "operations whose cost was no amount: it is 0 and not known"
#: The original's words for what went wrong; others stay as they are.
_CATEGORIES = {
    "": "unknown",
    "api_key": "authentication",
    "network": "transient",
    "rate_limit": "rate_limited",
    "quota": "quota_exhausted",
    "safety": "content_blocked",
    "server_error": "transient",
}
#: With these nothing is billed, so that a cost of 0 is known.
_UNBILLED = frozenset({"authentication", "invalid_request", "quota_exhausted", "rate_limited"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftEmbeddings:
    """Embeddings that stay behind.

    Attributes:
        model: Of the rows that were embedded, such as "communities.barangay".
        old_index: The original's name for where they were.
        embedder: What they were made with.
        count: How many.
        index: Name of the registered index over that model, by which ``ai_index`` embeds the rows
            again; "" if there is none yet.
    """

    model: str
    old_index: str
    embedder: str
    count: int
    index: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did, or with a dry run would do.

    Attributes:
        operations: Rows that came into the ledger.
        known_operations: Those that were there already.
        cost_usd: What the new ones cost, in US dollars.
        saved_usd: What the answers from the original's cache among them had cost.
        conversations: That are new.
        messages: In them.
        known_conversations: Those that were there already.
        notes: What did not fit, and what became of it, with how often.
        embeddings: What is to be embedded again.
    """

    operations: int
    known_operations: int
    cost_usd: Decimal
    saved_usd: Decimal
    conversations: int
    messages: int
    known_conversations: int
    notes: dict[str, int] = field(default_factory=dict)
    embeddings: tuple[LeftEmbeddings, ...] = ()


def import_obcms(alias: str = "default", *, is_dry_run: bool = False) -> ImportReport:
    """Import the original's operations and conversations; its tables are only read.

    Costs stay as they were recorded. Imported operations count for no budget, also when a lost
    cost store is rebuilt, and `operation_finished` is not sent for them. Users are found by primary
    key; in a database other than that of the users, their names must be the same, too.

    Args:
        alias: Of ``DATABASES``: where the original's tables are.
        is_dry_run: Only count.

    Raises:
        ValueError: There is no such alias, or a table or a column is missing.
        RuntimeError: It was called inside a transaction.
        DatabaseError: A database failed; what is imported stays, and the next run goes on.
    """
    if retry.is_in_transaction():
        raise RuntimeError("import_obcms() needs transactions of its own: call it outside.")
    check_tables(alias)
    owners, notes = Owners(alias), Counter[str]()
    if not owners.is_known:
        notes[f"table of users to compare with is missing in {alias!r}: nobody is recognised"] = 1
    new, known, cost, saved = _import_operations(alias, owners, notes, is_dry_run=is_dry_run)
    if new and not is_dry_run:
        roll_up()
    conversations, messages, known_conversations = import_conversations(
        alias, owners, notes, is_dry_run=is_dry_run
    )
    return ImportReport(
        operations=new,
        known_operations=known,
        cost_usd=cost,
        saved_usd=saved,
        conversations=conversations,
        messages=messages,
        known_conversations=known_conversations,
        notes=dict(notes),
        embeddings=tuple(_left_embeddings(alias)),
    )


def _import_operations(
    alias: str, owners: Owners, notes: Counter[str], *, is_dry_run: bool
) -> tuple[int, int, Decimal, Decimal]:
    database = get_settings().database
    count = known = 0
    cost = saved = Decimal(0)

    def refuse(operation: AIOperation, error: Exception) -> None:
        notes[f"operations left behind: the database refused them ({type(error).__name__})"] += 1

    for rows in batches_of(OldOperation, alias, size=_AT_ONCE):
        keys = [row["id"] for row in rows]
        there = set(AIOperation.objects.filter(pk__in=keys).values_list("pk", flat=True))
        known += len(there)
        missing = [row for row in rows if row["id"] not in there]
        purged = _purged_quarters(missing)
        found = owners.find(row["user_id"] for row in missing)
        made = []
        for row in missing:
            if bucket_of(row["created_at"]) in purged:
                notes["operations left behind: they were imported before, and purged since"] += 1
                continue
            if row["user_id"] is not None and row["user_id"] not in found:
                notes["operations whose user is not here: they are nobody's"] += 1
            made.append(_operation_of(row, found.get(row["user_id"], owners.nobody), notes))
        new = made if is_dry_run else []
        if made and not is_dry_run:
            inserts.store_all(made, database, new=new, refuse=refuse)
        count += len(new)
        for each in new:
            cost, saved = EXACT.add(cost, each.cost_usd), EXACT.add(saved, each.saved_usd)
    return count, known, cost, saved


def _purged_quarters(rows: list[dict[str, Any]]) -> set[Any]:
    """Return the quarters of an hour whose imported operations were purged: all that they had."""
    starts = {bucket_of(row["created_at"]) for row in rows}
    found = OperationRollup.objects.filter(
        is_day=False, start__in=starts, purged__money__imported__has_key="module"
    )
    return set(found.values_list("start", flat=True))


def _operation_of(row: Mapping[str, Any], owner: Owner, notes: Counter[str]) -> AIOperation:
    """Return a row as the ledger has it.

    The split of tokens and the prompt's hash are not brought along: one was never counted, and the
    other is of another kind. Nor is the error's text, which may quote the API key.
    """
    money: Decimal | None = row["cost"]
    if money is None or not money.is_finite() or money < 0:
        notes[_NO_MONEY] += 1
        money = Decimal(0)
    is_cached, success = bool(row["cached"]), bool(row["success"])
    category = (row["error_category"] or "").strip().lower()
    category = "" if success else _CATEGORIES.get(category, category)
    seconds = row["response_time"]
    is_timed = seconds is not None and math.isfinite(seconds) and seconds > 0
    model = fit("model_used", row["model_used"] or "")
    return AIOperation(
        id=row["id"],
        operation_type=fit("operation_type", row["operation_type"] or "other"),
        module=fit("module", row["module"] or "general"),
        user_id=owner.key,
        scope=owner.scope,
        provider=IMPORTED,
        model_requested=model,
        model_used=model,
        input_tokens=0 if is_cached else min(max(row["tokens_used"] or 0, 0), _MOST_TOKENS),
        tokens_exact=False,
        cost_usd=0 if is_cached else money,
        cost_known=is_cached or money > 0 or category in _UNBILLED,
        response_time_ms=round(seconds * 1000) if is_timed else 0,
        attempts=0,
        success=success,
        error_category=fit("error_category", category),
        cached=is_cached,
        saved_usd=money if is_cached else 0,
        prompt_hash="",
        created_at=row["created_at"],
    )


def _left_embeddings(alias: str) -> list[LeftEmbeddings]:
    names = {
        row["id"]: f"{row['app_label']}.{row['model']}"
        for row in OldContentType._default_manager.using(alias).values()
    }
    indexes = {each.model._meta.label_lower: each.name for each in get_indexes()}
    rows = OldEmbedding._default_manager.using(alias).order_by()
    grouped = rows.values("content_type_id", "index_name", "model_used").annotate(count=Count("*"))
    found = []
    for row in grouped.order_by("content_type_id", "index_name", "model_used"):
        model = names.get(row["content_type_id"], f"content type {row['content_type_id']}")
        found.append(
            LeftEmbeddings(
                model=model,
                old_index=row["index_name"],
                embedder=row["model_used"],
                count=row["count"],
                index=indexes.get(model, ""),
            )
        )
    return found
