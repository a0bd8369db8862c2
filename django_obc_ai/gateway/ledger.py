"""Writing calls into the ledger, `AIOperation`, and telling those who listen.

A row must outlive the caller's rollback and a database that is away for a while. Where it goes:

- outside a transaction, and in that of a ``TestCase``: through the caller's connection;
- inside a caller's transaction: through the process's own writer connection, at once;
- on SQLite inside a caller's transaction: into the spool, taken up when the transaction has
  ended. A second connection would wait for the caller's own lock; and if the caller has only
  read so far, a commit of ours would make its later write fail;
- where the database is busy, down or refuses: into the spool, taken up later.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.signals import request_finished
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, connections
from django.db import transaction as transactions
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import sql
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import AbandonedCallError
from django_obc_ai.gateway import intents, spool
from django_obc_ai.gateway.rows import row_of
from django_obc_ai.gateway.telling import tell
from django_obc_ai.logs import events
from django_obc_ai.models import AIOperation
from django_obc_ai.models.connections import persist
from django_obc_ai.models.writer import transaction_of, with_writer
from django_obc_ai.signals import operation_finished
from django_obc_ai.types import CallInfo, CallOutcome, GenerationRequest

_TAKEN_UP_PER_CALL = 50  # a backlog is worked off by many calls, none of which waits for all
_seen_pid = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainReport:
    """What taking up the spool did.

    Attributes:
        stored: Rows that were inserted, those that killed processes announced included.
        known: Rows that were in the ledger already.
        refused: Files set aside, since they are broken or the database refuses them for good.
        left: Files that still wait, since the database is away or a transaction is open.
    """

    stored: int = 0
    known: int = 0
    refused: int = 0
    left: int = 0


def announce(request: GenerationRequest, info: CallInfo, outcome: CallOutcome) -> Path | None:
    """Leave a trace of a call that is about to be sent; see `intents`.

    Args:
        request: What is sent.
        info: Who calls.
        outcome: How the call is to be booked if this process dies: all attempts at what they
            cost, or may cost.
    """
    alias = get_settings().database
    if transaction_of(alias) == "test":  # its rows are rolled back: there is nothing to keep
        return None
    return intents.announce(row_of(request, info, outcome), alias)


def record(
    request: GenerationRequest,
    info: CallInfo,
    outcome: CallOutcome,
    *,
    announced: Path | None = None,
) -> bool:
    """Write the call's row, once per operation id, and send ``operation_finished``.

    Never raises: what the database cannot take now goes to the spool, and if that fails, too,
    the whole record is logged as an error. The answer, which is paid for, is delivered.

    Args:
        request: What was sent.
        info: Who called.
        outcome: How the call ended.
        announced: What `announce` returned; withdrawn when the row is safe.

    Returns:
        Whether the row is in the database now, and does not wait or is lost.
    """
    operation = row_of(request, info, outcome)
    is_stored = _write(operation, get_settings().database)
    intents.withdraw(announced)
    _log(operation)
    return is_stored


def _log(operation: AIOperation) -> None:
    """Log the call, in its own context; who asked and what was asked stay out of it."""
    event = events.CALLS_CACHED if operation.cached else events.CALLS_FINISHED
    event = event if operation.success else events.CALLS_FAILED
    if event.is_enabled:
        event.log(
            about=operation.error_category,
            operation_id=operation.pk,
            operation_type=operation.operation_type,
            ai_module=operation.module,
            provider=operation.provider,
            model=operation.model_used or operation.model_requested,
            input_tokens=operation.input_tokens,
            cached_tokens=operation.cached_tokens,
            output_tokens=operation.output_tokens,
            thinking_tokens=operation.thinking_tokens,
            cost_usd=operation.cost_usd,
            cost_known=operation.cost_known,
            response_time_ms=operation.response_time_ms,
            attempts=operation.attempts,
            cached=operation.cached,
            outcome=operation.error_category or "success",
        )


def _write(operation: AIOperation, alias: str) -> bool:
    try:
        if must_wait(alias):
            if spool.write(operation, alias):
                _drain_afterwards(alias)
                return False
            events.LEDGER_WITHOUT_SPOOL.log(operation_id=operation.pk)
        is_new = _store(operation, alias)
    except Exception as error:  # noqa: BLE001 - the answer is paid for and must be delivered
        _keep(operation, alias, error)
        return False
    if is_new:
        tell(operation_finished, operation=operation)
    if transaction_of(alias) != "test" and (_is_first_of_process() or spool.find(alias)):
        _drain_some(alias)
    return True


def drain(alias: str, *, limit: int | None = None, is_from_any: bool = False) -> DrainReport:
    """Take up spooled operations; safe to run twice, and by several processes at once.

    Args:
        alias: The database that takes them.
        limit: Files at most; None takes all.
        is_from_any: Also take those that were meant for another database, for example after
            it got another name.
    """
    files = spool.find(None if is_from_any else alias)
    if must_wait(alias):
        return DrainReport(left=len(files))
    done: Counter[str] = Counter()
    taken = 0
    for path in files[:limit]:
        operation = spool.read(path)
        if operation is not None:
            state = _take_up(path, operation, alias)
            if state == "left":
                break
            done[state] += 1
        elif path.with_suffix(spool.BROKEN).exists():
            done["refused"] += 1
        taken += 1
    else:
        for path, operation in intents.find_abandoned(alias):
            if spool.holds(operation, alias):  # killed after it had spooled the real cost
                done["left"] += 1
                continue
            state = _take_up(path, operation, alias)
            done[state] += 1
            if state == "stored":
                events.LEDGER_ABANDONED.log(operation_id=operation.pk, cost_usd=operation.cost_usd)
    done["left"] += len(files) - taken
    return DrainReport(**done)


def _take_up(path: Path, operation: AIOperation, alias: str) -> str:
    """Store what a file holds, remove the file, and say which count of the report it is."""
    try:
        is_new = _store(operation, alias)
    except (IntegrityError, DataError) as error:
        spool.set_aside(path, spool.REFUSED)
        events.LEDGER_REFUSED.log(error=error, operation_id=operation.pk)
        return "refused"
    except (DatabaseError, InterfaceError) as error:
        events.LEDGER_SPOOL_WAITS.log(error=error)
        return "left"
    spool.remove(path)
    if is_new:
        tell(operation_finished, operation=operation)
    return "stored" if is_new else "known"


def _is_first_of_process() -> bool:
    """Return whether this process has stored no row yet: it may follow one that was killed."""
    global _seen_pid
    is_first, _seen_pid = _seen_pid != os.getpid(), os.getpid()
    return is_first


def must_wait(alias: str) -> bool:
    """Return whether a row can only be stored once the caller's transaction has ended."""
    connection = connections[alias]
    # In memory there is nothing to outlive: such a database ends with its process.
    is_file = connection.vendor == "sqlite" and not _is_in_memory(connection)
    return is_file and transaction_of(alias) == "caller"


def _is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    name = str(connection.settings_dict["NAME"])
    return ":memory:" in name or "mode=memory" in name


def presume(operation: AIOperation, alias: str) -> AIOperation | None:
    """Book what a call that was given up may have cost; see `AbandonedCallError`.

    A call has one row. If it comes to its end after all, its own row takes this one's place.

    Returns:
        The call's own row if it is there already; nothing is changed then.

    Raises:
        DatabaseError: The ledger cannot be written.
    """
    if _store(operation, alias):
        tell(operation_finished, operation=operation)
        return None
    found = AIOperation.objects.using(alias).get(pk=operation.pk)
    return None if found.error_category == AbandonedCallError.code else found


def _store(operation: AIOperation, alias: str) -> bool:
    """Write a row on the connection that fits; False if the call has its row already."""
    connection = connections[alias]
    if transaction_of(alias) == "caller" and connection.vendor != "sqlite":
        return with_writer(alias, lambda writer: _insert(operation, writer))
    if connection.in_atomic_block:  # a TestCase's, which a refused row must not break
        if _exists(operation, connection):
            return _replace(operation, connection)
        with transactions.atomic(using=alias):
            return _insert(operation, connection)
    # A file has no connection that could have died: it is busy, and was waited for already.
    attempts = 1 if connection.vendor == "sqlite" else 2
    return persist(alias, lambda: _insert(operation, connection), attempts=attempts)


def _insert(operation: AIOperation, connection: BaseDatabaseWrapper) -> bool:
    """Insert on any connection, also one that no alias of ``connections`` leads to."""
    operation.recorded_at = timezone.now()
    query = sql.InsertQuery(AIOperation)
    query.insert_values(AIOperation._meta.concrete_fields, [operation], raw=True)
    try:
        query.get_compiler(connection=connection).execute_sql()
    except IntegrityError:
        if connection.in_atomic_block or not _exists(operation, connection):
            raise
        return _replace(operation, connection)
    operation._state.adding, operation._state.db = False, connection.alias
    return True


def _replace(operation: AIOperation, connection: BaseDatabaseWrapper) -> bool:
    """Put a call's own row in the place of a presumed one, once; whether it was put there.

    A presumed row only raises the cost of one that is there.
    """
    code = AbandonedCallError.code
    rows = AIOperation.objects.filter(pk=operation.pk, error_category=code, cost_known=False)
    changed = {field.attname for field in AIOperation._meta.concrete_fields} - {"id"}
    is_presumed = operation.error_category == code
    if is_presumed:
        rows, changed = rows.filter(cost_usd__lt=operation.cost_usd), {"cost_usd", "recorded_at"}
    query: Any = rows.query.chain(sql.UpdateQuery)  # Any: the stubs say Query
    query.add_update_values({name: getattr(operation, name) for name in changed})
    statement, parameters = query.get_compiler(connection=connection).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.rowcount > 0 and not is_presumed


def _exists(operation: AIOperation, connection: BaseDatabaseWrapper) -> bool:
    query = AIOperation.objects.filter(pk=operation.pk).query.exists()
    return bool(query.get_compiler(connection=connection).has_results())


def _keep(operation: AIOperation, alias: str, error: Exception) -> None:
    """Put a row that the database did not take into the spool, else into the log."""
    if not isinstance(error, (IntegrityError, DataError)) and spool.write(operation, alias):
        events.LEDGER_SPOOLED.log(error=error, operation_id=operation.pk)
        return
    events.LEDGER_LOST.log(
        error=error,
        operation_id=operation.pk,
        cost_usd=operation.cost_usd,
        model=operation.model_used,
        tokens=operation.total_tokens,
        outcome=operation.error_category or "success",
    )


def _drain_afterwards(alias: str) -> None:
    """Take the spool up when the transaction commits, or else when the request has ended."""
    if connections[alias].in_atomic_block:
        transactions.on_commit(lambda: _drain_some(alias), using=alias, robust=True)
    request_finished.connect(_drain_after_request, dispatch_uid="django_obc_ai.ledger.spool")


def _drain_after_request(**_: Any) -> None:
    try:
        alias = get_settings().database
        if spool.find(alias) and transaction_of(alias) == "none":
            _drain_some(alias)
    except Exception as error:  # noqa: BLE001 - the signal would carry it into the server
        events.LEDGER_SPOOL_FAILED.log(error=error)


def _drain_some(alias: str) -> None:
    """Take up a part of the spool; what fails is logged and waits."""
    try:
        drain(alias, limit=_TAKEN_UP_PER_CALL)
    except Exception as error:  # noqa: BLE001 - an answer is on its way to its caller
        events.LEDGER_SPOOL_FAILED.log(error=error)
