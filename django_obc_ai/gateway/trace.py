"""What the span of a call holds, and what is measured of it.

Names are those of OpenTelemetry's conventions for generative AI where these have one, and begin
with ``obc_ai.`` otherwise. Neither prompts nor answers, neither users nor tenants are part of it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from django_obc_ai import telemetry
from django_obc_ai.backends.providers import BaseProvider
from django_obc_ai.exceptions import BudgetExceededError, ObcAIError, RateLimitedError
from django_obc_ai.telemetry import Attributes, Instrument
from django_obc_ai.types import CallInfo, CallOutcome, GenerationRequest

#: Bounds as the conventions ask for.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
DURATION = Instrument(
    name="gen_ai.client.operation.duration",
    unit="s",
    description="How long calls took that neither the response cache nor another call answered.",
    bounds=_SECONDS,
)
FIRST_CHUNK = Instrument(
    name="gen_ai.client.operation.time_to_first_chunk",
    unit="s",
    description="When the first piece of a streamed answer arrived.",
    bounds=_SECONDS,
)
TOKENS = Instrument(
    name="gen_ai.client.token.usage",
    unit="{token}",
    description="Billed tokens of a call.",
    bounds=tuple(float(4**power) for power in range(14)),
)
COST = Instrument(name="obc_ai.cost", unit="{USD}", description="What calls cost.")
SAVED = Instrument(
    name="obc_ai.saved",
    unit="{USD}",
    description="What cached and coalesced answers cost when paid for.",
)
#: The span of a call that nobody hears; it never begins.
_SILENT = telemetry.Span()
INSTRUMENTS = (DURATION, FIRST_CHUNK, TOKENS, COST, SAVED)


class CallTrace:
    """The span of one call over all its attempts, and what is measured at its end."""

    def __init__(self, operation: str, info: CallInfo) -> None:
        """Wait for `begin`.

        Args:
            operation: "chat" or "embeddings", as the conventions call it.
            info: Who calls.
        """
        self._operation = operation
        self._info = info
        self._span = _SILENT
        self._provider = info.provider
        self._is_heard: bool | None = None  # not known before it begins

    def begin(
        self,
        request: GenerationRequest,
        provider: BaseProvider | None = None,
        *,
        dimension: int | None = None,
        is_streamed: bool = False,
    ) -> None:
        """Begin the span with what is known before anything is sent."""
        self._is_heard = telemetry.is_heard()
        if not self._is_heard:
            return
        self._span = telemetry.Span()
        self._provider = getattr(provider, "telemetry_name", "") or self._info.provider
        kind: telemetry.Kind = "internal" if provider and provider.is_offline else "client"
        is_chat = self._operation == "chat"
        attributes: Attributes = {
            "gen_ai.operation.name": self._operation,
            "gen_ai.provider.name": self._provider,
            "gen_ai.request.model": request.model or None,
            "gen_ai.request.max_tokens": request.max_output_tokens if is_chat else None,
            "gen_ai.request.temperature": request.temperature,
            "gen_ai.request.stream": is_streamed or None,
            "gen_ai.output.type": None if request.response_schema is None else "json",
            "gen_ai.embeddings.dimension.count": dimension,
            "obc_ai.operation_id": str(self._info.operation_id),
            "obc_ai.operation_type": self._info.operation_type,
            "obc_ai.module": self._info.module,
            "obc_ai.provider": self._info.provider,
        }
        self._span.begin(f"{self._operation} {request.model}".strip(), attributes, kind=kind)

    def current(self) -> AbstractContextManager[None]:
        """Make what a provider's own instrumentation records a part of this call."""
        return self._span.current()

    @telemetry.safely
    def end(self, request: GenerationRequest, outcome: CallOutcome) -> None:
        """End the span, and measure the call."""
        if self._is_heard is None:  # it failed before its provider was known
            self.begin(request)
        if not self._is_heard:
            return
        if self._span.is_recording:
            self._span.add(_attributes_of(outcome))
        self._span.end(telemetry.category_of(outcome.error))
        self._measure(outcome)

    def _measure(self, outcome: CallOutcome) -> None:
        attributes: Attributes = {
            "gen_ai.operation.name": self._operation,
            "gen_ai.provider.name": self._provider,
            "gen_ai.request.model": outcome.model_requested or None,
            "gen_ai.response.model": outcome.model_used or None,
        }
        own: Attributes = {
            **attributes,
            "obc_ai.module": self._info.module,
            "obc_ai.operation_type": self._info.operation_type,
        }
        if outcome.cached or outcome.coalesced:  # the provider had no part in it
            kind = "cache" if outcome.cached else "coalesced"
            saved: Attributes = {**own, "obc_ai.saved.kind": kind}
            telemetry.measure(SAVED, float(outcome.saved_usd), saved)
            return
        error = telemetry.category_of(outcome.error) or None
        telemetry.measure(
            DURATION, outcome.response_time_seconds, {**attributes, "error.type": error}
        )
        if outcome.first_chunk_seconds is not None:
            telemetry.measure(FIRST_CHUNK, outcome.first_chunk_seconds, attributes)
        usage = outcome.usage
        for kind, tokens in (
            ("input", usage.input_tokens + usage.tool_tokens),
            ("output", usage.output_tokens + usage.thinking_tokens),
        ):
            if tokens:
                telemetry.measure(TOKENS, tokens, {**attributes, "gen_ai.token.type": kind})
        if outcome.cost_usd:
            telemetry.measure(COST, float(outcome.cost_usd), own)


def _attributes_of(outcome: CallOutcome) -> Attributes:
    usage, error = outcome.usage, outcome.error
    found: dict[str, str | bool | int | float | tuple[str, ...] | None] = {
        "gen_ai.response.model": outcome.model_used or None,
        "gen_ai.response.finish_reasons": (outcome.finish_reason,)
        if outcome.finish_reason
        else None,
        "gen_ai.response.time_to_first_chunk": outcome.first_chunk_seconds,
        "gen_ai.usage.input_tokens": usage.input_tokens + usage.tool_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens + usage.thinking_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens or None,
        "gen_ai.usage.reasoning.output_tokens": usage.thinking_tokens or None,
        "obc_ai.attempts": outcome.attempts,
        "obc_ai.cached": outcome.cached,
        "obc_ai.coalesced": outcome.coalesced,
        "obc_ai.cost_known": outcome.is_cost_known,
        "obc_ai.cost_usd": float(outcome.cost_usd),
        "obc_ai.fallback_from": outcome.fallback_from or None,
        "obc_ai.saved_usd": float(outcome.saved_usd),
        "obc_ai.tokens_exact": usage.is_exact,
        "obc_ai.waited_seconds": outcome.waited_seconds or None,
    }
    if isinstance(error, BudgetExceededError):
        found |= {
            "obc_ai.budget.scope": error.scope,
            "obc_ai.budget.period": error.period,
            "obc_ai.budget.unit": error.unit,
            "obc_ai.budget.limit": _in_unit(error.limit, error.unit),
            "obc_ai.budget.spent": _in_unit(error.spent, error.unit),
            "obc_ai.budget.held": _in_unit(error.held, error.unit),
        }
    if isinstance(error, RateLimitedError):
        found |= {"obc_ai.limit.provider": error.alias, "obc_ai.limit.reason": error.reason}
    if isinstance(error, ObcAIError):
        found["obc_ai.retry_after_seconds"] = error.retry_after_seconds
    return found


def _in_unit(amount: int, unit: str) -> float:
    return amount / 1e9 if unit == "usd" else amount
