"""Writing calls into the ledger, `AIOperation`, and telling those who listen."""

from __future__ import annotations

import logging
from typing import Any

from django.db import IntegrityError, transaction

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway.cache import digest
from django_obc_ai.models import AIOperation
from django_obc_ai.models.connections import persist
from django_obc_ai.signals import operation_finished
from django_obc_ai.types import CallInfo, CallOutcome, GenerationRequest

logger = logging.getLogger("django_obc_ai.ledger")


def record(request: GenerationRequest, info: CallInfo, outcome: CallOutcome) -> None:
    """Write the call's row, once per operation id, and send ``operation_finished``.

    The row is written through the caller's connection: inside a transaction it is part
    of it. If the database refuses it, the whole record is logged as an error and the
    answer, which is paid for, is still delivered.
    """
    error = outcome.error
    usage = outcome.usage
    operation = AIOperation(
        id=info.operation_id,
        operation_type=info.operation_type,
        module=info.module,
        user_id=info.user_id,
        scope=info.scope,
        provider=_fit("provider", info.provider),
        model_requested=_fit("model_requested", outcome.model_requested),
        model_used=_fit("model_used", outcome.model_used),
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        thinking_tokens=usage.thinking_tokens,
        tool_tokens=usage.tool_tokens,
        tokens_exact=usage.is_exact,
        cost_usd=outcome.cost_usd,
        cost_known=outcome.is_cost_known,
        response_time_ms=round(outcome.response_time_seconds * 1000),
        attempts=outcome.attempts,
        success=error is None,
        error_category="" if error is None else _fit("error_category", error.code),
        error_message="" if error is None else str(error),
        finish_reason=_fit("finish_reason", outcome.finish_reason),
        cached=outcome.cached,
        prompt_hash=digest("prompt", [request.system, request.render_prompt()]),
        created_at=outcome.started_at,
    )
    alias = get_settings().database
    try:
        persist(alias, lambda: _insert(operation, alias))
    except Exception:  # whatever it was: the answer is paid for and must be delivered
        logger.exception(
            "AIOperation %s was not stored: $%s, model %s, %d tokens, error %r.",
            operation.pk,
            operation.cost_usd,
            operation.model_used,
            operation.total_tokens,
            operation.error_category,
        )
        return
    for receiver, result in operation_finished.send_robust(AIOperation, operation=operation):
        if isinstance(result, Exception):
            logger.error("A receiver of operation_finished failed: %r", receiver, exc_info=result)


def _insert(operation: AIOperation, alias: str) -> None:
    """Insert a row, unless it is there already: a repeated write of the same call."""
    try:
        with transaction.atomic(using=alias):  # a savepoint where the caller has a transaction
            operation.save(force_insert=True, using=alias)
    except IntegrityError:
        if not AIOperation.objects.using(alias).filter(pk=operation.pk).exists():
            raise


def _fit(field: str, text: str) -> str:
    """Shorten a name that a provider chose to what its column holds."""
    column: Any = AIOperation._meta.get_field(field)  # a text column, which the stubs cannot know
    return text[: column.max_length]
