"""Keeping what was asked and answered, where ``OBC_AI["LOG"]["store_content"]`` is on.

Texts are redacted first, and go nowhere but into their table: not into the spool, a log or a
message. Where the database does not take them, they are forgotten. They survive the caller's
rollback as the ledger does, but for SQLite, where they are written with the caller's commit.
"""

from __future__ import annotations

from uuid import UUID

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import sql

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway import ledger
from django_obc_ai.gateway.redaction import redact
from django_obc_ai.logs import events
from django_obc_ai.models import StoredContent
from django_obc_ai.models.writer import transaction_of, with_writer
from django_obc_ai.types import CallInfo, GenerationRequest


def keep(request: GenerationRequest, info: CallInfo, answer: str, *, is_recorded: bool) -> None:
    """Store the texts of a call, if that is wanted; never raises.

    Args:
        request: What was sent.
        info: Who called.
        answer: What came back, or as much as did.
        is_recorded: Whether the database has just taken the call's row. Otherwise it is not
            asked to take this.
    """
    if not get_settings().log.store_content:
        return
    try:
        alias = get_settings().database
        must_wait = ledger.must_wait(alias)
        if not is_recorded and not must_wait:
            return
        row = _row(request, info, answer)
        if must_wait:
            transaction.on_commit(lambda: _keep_quietly(row, alias), using=alias, robust=True)
        else:
            _store(row, alias)
    except Exception as error:  # noqa: BLE001 - the answer is paid for and must be delivered
        _tell(info.operation_id, error)


def _row(request: GenerationRequest, info: CallInfo, answer: str) -> StoredContent:
    return StoredContent(
        operation_id=info.operation_id,
        user_id=info.user_id,
        system=redact(request.system),
        prompt=redact(request.render_prompt()),
        history=[{"role": each.role, "text": redact(each.text)} for each in request.history],
        answer=redact(answer),
    )


def _keep_quietly(row: StoredContent, alias: str) -> None:
    try:
        _store(row, alias)
    except Exception as error:  # noqa: BLE001 - a traceback would hold the texts
        _tell(row.pk, error)


def _tell(operation_id: UUID, error: Exception) -> None:
    # An error of redaction or of a database may quote a text; an event says no more than is safe.
    events.CONTENT_NOT_STORED.log(
        about=type(error).__name__, error=error, operation_id=operation_id
    )


def _store(row: StoredContent, alias: str) -> None:
    """Insert on the connection that outlives the caller's rollback."""
    if transaction_of(alias) == "caller" and connections[alias].vendor != "sqlite":
        with_writer(alias, lambda writer: _insert(row, writer))
        return
    with transaction.atomic(using=alias):
        _insert(row, connections[alias])


def _insert(row: StoredContent, connection: BaseDatabaseWrapper) -> None:
    query = sql.InsertQuery(StoredContent)
    query.insert_values(StoredContent._meta.concrete_fields, [row], raw=True)
    query.get_compiler(connection=connection).execute_sql()
