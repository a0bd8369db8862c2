"""Erasing what the package holds about one user.

What was counted and paid stays in the ledger and belongs to nobody. See
docs/howto/personal-data.md for what goes, what stays, and why.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db import router

from django_obc_ai.backends.lexical_stores import lexical_stores
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import IndexNotReadyError, ObcAIError
from django_obc_ai.gateway import erasing, ledger, tags
from django_obc_ai.indexes import VectorIndex, forgetting, generations, get_indexes, replica
from django_obc_ai.models import ChatMessage, Conversation, Flight, IndexState, StoredContent
from django_obc_ai.models.writer import transaction_of
from django_obc_ai.services import _attribution, _job_erasing, _mentions, _people
from django_obc_ai.services.content import erase_content
from django_obc_ai.services.conversations import erase_conversations
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.signals import erasing_user


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureReport:
    """What `erase_user` did, or would do.

    Attributes:
        operations: Rows of the ledger that are nobody's now.
        cached_answers: Entries that were deleted from the response cache, if still there.
        files: Files on this machine that were rewritten; those of calls in flight included.
        rollups: Sums in which the user was counted apart.
        conversations: Deleted.
        messages: Deleted with them.
        contents: Stored prompts and answers that were deleted.
        jobs: Questions in the background, and their answers, that were deleted.
        jobs_running: Those whose calls had not ended when they had been waited for. They write
            what they were asked and answered when they end, so erase again then.
        budgets: The user's own budgets and alerts that were deleted, and changes of budgets
            that no longer name the user.
        names: Corrections, prompts, pauses and the like that no longer name the user.
        chunks: Pieces of text that were removed from indexes beside the usual update.
        mentions: Rows and cached answers of others that mentioned the user.
        undeclared_indexes: Indexes in the database that no ``ai_indexes.py`` declares, so that
            nobody can say what is gone from them; delete their `IndexState`.
    """

    operations: int = 0
    cached_answers: int = 0
    files: int = 0
    rollups: int = 0
    conversations: int = 0
    messages: int = 0
    contents: int = 0
    jobs: int = 0
    jobs_running: int = 0
    budgets: int = 0
    names: int = 0
    chunks: int = 0
    mentions: int = 0
    undeclared_indexes: tuple[str, ...] = ()


def erase_user(
    user: Any, *, mentions: Collection[str] = (), is_dry_run: bool = False
) -> ErasureReport:
    """Erase what the package holds about a user; repeat it after a failure.

    The signal ``erasing_user`` goes first, so that the project's own rows go and the indexes
    follow. Erase a user that can no longer act, and before the user is deleted: deleting alone
    takes the names out of the ledger, by which the rest is found.

    Args:
        user: A user, or the primary key of one who may be deleted already.
        mentions: Names, addresses and the like, of 4 letters at least. They are taken out of
            what others asked and were answered, too, which means that every text is read.
        is_dry_run: Only count; no signal is sent, and the indexes are not looked at.

    Raises:
        ValueError: Nobody is meant, or a mention is too short.
        RuntimeError: The caller has a transaction open, which could take everything back.
        Exception: A receiver of ``erasing_user`` failed, or the response cache or the database
            did. What was done by then stays done.
    """
    person, pattern = _people.person_of(user), _mentions.pattern_of(mentions)
    if is_dry_run:
        return _count(person, pattern)
    _refuse_in_transaction()
    erasing_user.send(get_user_model(), user_id=person.key, user=person.user)
    chunks = sum(_clean(index) for index in get_indexes())
    # First, so that no call is begun any more, and none is under way that would write later.
    jobs = _job_erasing.erase_jobs(person.key, _mentions.marking(pattern))
    alias = get_settings().database
    ledger.drain(alias)
    files = erasing.detach_files(person.key, alias)
    operations, cached_answers = erasing.detach_rows(person.key)
    Flight.objects.forget(is_all=True)  # nobody knows whose; a call that it takes away is made
    messages = _messages_of(person).count()
    return ErasureReport(
        operations=operations,
        cached_answers=cached_answers,
        files=files,
        rollups=_attribution.forget_user(person),
        conversations=erase_conversations(person.key),
        messages=messages,
        contents=erase_content(person.key),
        jobs=jobs.jobs,
        jobs_running=jobs.running,
        budgets=_attribution.forget_budgets(person),
        names=_attribution.forget_names(person),
        chunks=chunks,
        mentions=jobs.mentions + _mentions.forget_mentions(pattern),
        undeclared_indexes=_undeclared(),
    )


def _count(person: _people.Person, pattern: re.Pattern[str] | None) -> ErasureReport:
    operations, cached_answers = erasing.count_rows(person.key)
    budgets = [
        _attribution.budgets_of(person),
        _attribution.alerts_of(person),
        _attribution.changes_of(person),
    ]
    names = [*(rows for rows, _ in _attribution.named(person)), _attribution.prompts_by(person)]
    marking = _mentions.marking(pattern)
    mentions = 0
    if marking is not None:
        mentions = _job_erasing.count_mentions(marking, except_of=person.key)
    return ErasureReport(
        operations=operations,
        cached_answers=cached_answers,
        files=erasing.count_files(person.key, get_settings().database),
        rollups=_attribution.rollups_of(person).count(),
        conversations=Conversation.objects.filter(user_id=person.key).count(),
        messages=_messages_of(person).count(),
        contents=StoredContent.objects.filter(user_id=person.key).count(),
        jobs=_job_erasing.jobs_of(person.key).count(),
        budgets=sum(rows.count() for rows in budgets),
        names=sum(rows.count() for rows in names),
        mentions=mentions + _mentions.forget_mentions(pattern, is_dry_run=True),
        undeclared_indexes=_undeclared(),
    )


def _messages_of(person: _people.Person) -> Any:
    # Any: a queryset, whose filter the stubs would have typed by the user model.
    return ChatMessage.objects.filter(conversation__user_id=person.key)


def _refuse_in_transaction() -> None:
    aliases = {get_settings().database, *(index.database for index in get_indexes())}
    if any(transaction_of(alias) == "caller" for alias in aliases):
        raise RuntimeError(
            "erase_user() commits as it goes and cannot be part of a transaction. Call it after"
            " the atomic block, for example in transaction.on_commit()."
        )


def _clean(index: VectorIndex) -> int:
    """Bring an index up to date, and leave nothing of what was in it before; count chunks."""
    service = IndexingService()
    count = forgetting.forget_gone(index)
    try:
        failed = set(service.sweep(index.name).failed)
    except ObcAIError:  # the embedder; what could not be embedded is not searched until it is
        failed = forgetting.waiting_of(index)
    identity = EmbeddingService(index.embedder).identity
    fingerprint = generations.fingerprint_of(index, identity)
    count += forgetting.forget_changed(index, except_in=fingerprint, failed=failed)
    generations.remove_retired(index)
    tags.invalidate([tags.index_tag(index.name)], using=index.database)
    for alias in vector_stores:
        store = vector_stores[alias]
        if store.is_persistent:  # its files hold vectors of removed texts until they are folded
            store.drop(index.name)
    has_words = lexical_stores[index.lexical_store].state(index.name) is not None
    for alias in lexical_stores:
        words = lexical_stores[alias]
        if words.path is not None:  # its files hold their words
            words.drop(index.name)
    with contextlib.suppress(IndexNotReadyError):
        replica.sync(index)
        if has_words:
            replica.sync_words(index)
    return count


def _undeclared() -> tuple[str, ...]:
    indexes = get_indexes()
    aliases = {router.db_for_read(IndexState), *(index.database for index in indexes)}
    return tuple(forgetting.undeclared(aliases, [index.name for index in indexes]))
