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

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from django.db import DataError, IntegrityError, connections

from django_obc_ai.backends.redis_link import Step
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import AbandonedCallError, ObcAIError
from django_obc_ai.gateway import draining, inserts, intents, spool
from django_obc_ai.gateway.batch import Row
from django_obc_ai.gateway.draining import DrainReport, batch, drain
from django_obc_ai.gateway.inserts import must_wait
from django_obc_ai.gateway.refusals import lost
from django_obc_ai.gateway.rows import row_of, values_of
from django_obc_ai.logs import events
from django_obc_ai.models import AIOperation
from django_obc_ai.models.writer import transaction_of, transaction_on
from django_obc_ai.types import CallInfo, CallOutcome, GenerationRequest

__all__ = [
    "DrainReport", "Entry", "announce", "drain", "is_batched", "must_wait", "presume", "record",
]  # fmt: skip


def is_batched(alias: str) -> bool:
    """Return whether rows of this thread wait to be written together now.

    Not in a test's transaction, which a row shall be seen in and end with; nor in memory, where
    no other thread could write; nor where SQLite's row has to wait for the caller's commit.
    """
    if get_settings().log.rows != "batched":
        return False
    connection = connections[alias]
    if connection.vendor == "sqlite":
        return transaction_on(connection) == "none" and not inserts.is_in_memory(connection)
    return transaction_on(connection) != "test"


def announce(
    request: GenerationRequest,
    info: CallInfo,
    presumed: Callable[[], CallOutcome],
    *,
    is_held: bool = False,
) -> Path | None:
    """Leave a trace of a call that is about to be sent, if one is needed; see `intents`.

    A hold in a store that other processes see is a trace, too, and goes only where that store and
    this process are lost together. With rows in batches that is what the caller has chosen to
    risk, for a file less in each call.

    Args:
        request: What is sent.
        info: Who calls.
        presumed: Returns how the call is to be booked if this process dies: all attempts at what
            they cost, or may cost.
        is_held: Whether there is such a hold, which says all of that.
    """
    alias = get_settings().database
    if transaction_of(alias) == "test":  # its rows are rolled back: there is nothing to keep
        return None
    if is_held and is_batched(alias):
        return None
    return intents.announce(row_of(request, info, presumed()), alias)


class Entry:
    """The row of a call that has ended, on its way into the ledger."""

    def __init__(
        self,
        request: GenerationRequest,
        info: CallInfo,
        outcome: CallOutcome,
        *,
        announced: Path | None = None,
    ) -> None:
        """Make the row; it is nowhere yet.

        Args:
            request: What was sent.
            info: Who called.
            outcome: How the call ended.
            announced: What `announce` returned; withdrawn when the row is safe.
        """
        self._values = values_of(request, info, outcome)
        self._alias = get_settings().database
        self._announced = announced
        self._is_batched = is_batched(self._alias)
        self._is_paid = outcome.cost_usd > 0 or not outcome.is_cost_known
        self._is_under_way = False
        self._row = Row(self._values)
        if self._is_batched and self._is_paid:
            self._row.log = batch.log

    def take_step(self, server: str) -> Step[None] | None:
        """Return what makes the row durable in Redis, once, to travel with others to a server.

        Where it does not arrive, record() puts the row on disk.

        Returns:
            None: it is not to go there, or is under way.
        """
        log = self._row.log
        if log is None or self._is_under_way or log.server != server:
            return None
        self._is_under_way = True
        kept = log.keep_row_step(spool.mark_of(self._alias), spool.dump_values(self._values))

        def read(reply: Any) -> None:
            self._row.entry = kept.read(reply)

        return Step(kept.call, read)

    def record(self) -> bool:
        """Write the row, once per operation id, or let it wait for its batch.

        Never raises: what the database cannot take now goes to the spool, and if that fails, too,
        the whole record is logged as an error. The answer, which is paid for, is delivered.

        Returns:
            Whether the row is in the database now, or in the batch that is about to be written.
        """
        is_stored = self._is_batched and self._wait()
        if not is_stored:
            is_stored = _write(self._row.operation, self._alias)
        intents.withdraw(self._announced)
        _log(self._values)
        return is_stored

    def _wait(self) -> bool:
        failure = None
        log = self._row.log
        step = None if log is None else self.take_step(log.server)
        if log is not None and step is not None:
            try:
                log.run_step(step)
            except ObcAIError as error:
                failure = error
        if self._row.log is not None and not self._row.entry:
            batch.avoid_log(failure)
        try:
            return batch.add(self._row, self._alias, is_paid=self._is_paid)
        except Exception as error:  # noqa: BLE001 - the answer is paid for and must be delivered
            events.LEDGER_SPOOL_FAILED.log(error=error)
            return False


def record(
    request: GenerationRequest,
    info: CallInfo,
    outcome: CallOutcome,
    *,
    announced: Path | None = None,
) -> bool:
    """Write the call's row and send ``operation_finished``; see `Entry.record`."""
    return Entry(request, info, outcome, announced=announced).record()


def _log(values: Mapping[str, Any]) -> None:
    """Log the call, in its own context; who asked and what was asked stay out of it."""
    event = events.CALLS_CACHED if values["cached"] else events.CALLS_FINISHED
    event = event if values["success"] else events.CALLS_FAILED
    if event.is_enabled:
        operation = SimpleNamespace(**values)
        event.log(
            about=operation.error_category,
            operation_id=operation.id,
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
                draining.drain_afterwards(alias)
                return False
            events.LEDGER_WITHOUT_SPOOL.log(operation_id=operation.pk)
        is_new = inserts.store(operation, alias)
    except Exception as error:  # noqa: BLE001 - the answer is paid for and must be delivered
        _keep(operation, alias, error)
        return False
    if is_new:
        inserts.tell(operation)
    if transaction_of(alias) != "test" and (draining.is_first_of_process() or spool.find(alias)):
        draining.drain_some(alias)
    return True


def presume(operation: AIOperation, alias: str) -> AIOperation | None:
    """Book what a call that was given up may have cost; see `AbandonedCallError`.

    A call has one row. If it comes to its end after all, its own row takes this one's place.

    Returns:
        The call's own row if it is there already; nothing is changed then.

    Raises:
        DatabaseError: The ledger cannot be written.
    """
    if inserts.store(operation, alias):
        inserts.tell(operation)
        return None
    found = AIOperation.objects.using(alias).get(pk=operation.pk)
    return None if found.error_category == AbandonedCallError.code else found


def _keep(operation: AIOperation, alias: str, error: Exception) -> None:
    """Put a row that the database did not take into the spool, else into the log."""
    if not isinstance(error, (IntegrityError, DataError)) and spool.write(operation, alias):
        events.LEDGER_SPOOLED.log(error=error, operation_id=operation.pk)
        return
    lost(operation, error)
