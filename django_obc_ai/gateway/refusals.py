"""Rows that a database never takes: kept on the disk for somebody to look at, else in the log."""

from __future__ import annotations

from django.db import DataError, IntegrityError

from django_obc_ai.gateway import spool
from django_obc_ai.logs import events
from django_obc_ai.models import AIOperation

#: How a database, its driver or Django says that a row will never do, for example since a text
#: has no form in UTF-8. One such row must not keep others waiting.
REFUSALS = (IntegrityError, DataError, ValueError, TypeError, OverflowError)


def refused(operation: AIOperation, alias: str, error: Exception) -> None:
    """Keep what the database refuses for good on the disk, else in the log."""
    if spool.refuse(operation, alias):
        events.LEDGER_REFUSED.log(error=error, operation_id=operation.pk)
    else:
        lost(operation, error)


def lost(operation: AIOperation, error: Exception) -> None:
    """Log a row that nothing takes: it is all that is left of the call."""
    events.LEDGER_LOST.log(
        error=error,
        operation_id=operation.pk,
        cost_usd=operation.cost_usd,
        model=operation.model_used,
        tokens=operation.total_tokens,
        outcome=operation.error_category or "success",
    )
