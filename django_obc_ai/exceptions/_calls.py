"""Errors of paid calls: what providers answer, and what is refused before they are asked."""

from __future__ import annotations

from datetime import datetime

from django_obc_ai.exceptions._base import ObcAIError


class ProviderError(ObcAIError):
    """The provider did not deliver an answer."""


class AuthenticationError(ProviderError):
    """The provider refused the API key."""

    code = "authentication"


class InvalidRequestError(ProviderError):
    """The provider refused the request as malformed or too large."""

    code = "invalid_request"


class ModelNotFoundError(ProviderError):
    """The provider does not know the requested model."""

    code = "model_not_found"


class RateLimitError(ProviderError):
    """The provider refused the request because too many were sent."""

    code = "rate_limited"
    retryable = True


class QuotaExhaustedError(RateLimitError):
    """The provider's daily quota is used up; only its next day helps."""

    code = "quota_exhausted"
    retryable = False


class TransientError(ProviderError):
    """The provider or the network failed in a way that usually passes."""

    code = "transient"
    retryable = True
    is_possibly_billed = True


class ProviderTimeoutError(TransientError):
    """The provider did not answer in time."""

    code = "timeout"


class BadResponseError(ProviderError):
    """The provider answered with something that is not a usable answer."""

    code = "bad_response"
    retryable = True
    is_possibly_billed = True


class ContentBlockedError(ProviderError):
    """The provider blocked the prompt or the answer; it may be billed nevertheless."""

    code = "content_blocked"
    is_possibly_billed = True


class StreamInterruptedError(ProviderError):
    """A streamed answer ended before the provider said that it was finished."""

    code = "stream_interrupted"
    is_possibly_billed = True


class BudgetExceededError(ObcAIError):
    """The call does not fit into a hard budget; nothing was sent.

    Attributes:
        key: Names scope and period of the budget, for example "global:day:2026-11-22".
        unit: "usd" (amounts are nano-dollars), "tokens" or "requests".
        limit: What may be spent in the period.
        spent: What is spent.
        held: What is held for calls under way.
        resets_at: When the period is over, aware UTC; None is never.
        scope: What the budget counts by, for example "module"; its value is in ``key``.
        period: Of the budget, for example "day".
    """

    code = "budget_exceeded"
    key: str = ""
    unit: str = "usd"
    limit: int = 0
    spent: int = 0
    held: int = 0
    resets_at: datetime | None = None
    scope: str = ""
    period: str = ""


class ProviderPausedError(ObcAIError):
    """An operator has paused the provider; nothing was sent.

    Attributes:
        alias: Of the provider in ``OBC_AI["PROVIDERS"]``.
        until: When the pause ends by itself, aware UTC; None for when somebody resumes it.
    """

    code = "provider_paused"
    alias: str = ""
    until: datetime | None = None


class AbandonedCallError(ObcAIError):
    """The process ended during the call; its cost is presumed."""

    code = "abandoned"
    is_possibly_billed = True


class CostStoreError(ObcAIError):
    """The cost store cannot say what is spent, so nothing may be sent."""

    code = "transient"
    retryable = True


class CostStoreLostError(CostStoreError):
    """The cost store lost its totals and admits nothing until they are rebuilt.

    ``retry_after_seconds`` says how long it still waits for the calls that are under way.
    """


class CoordinatorError(ObcAIError):
    """The coordinator cannot be asked; the gateway goes on without it, as documented."""

    code = "transient"
    retryable = True


class RateLimitedError(ObcAIError):
    """The project's own rate limits refuse the call; nothing was sent.

    Attributes:
        alias: Of the provider in ``OBC_AI["PROVIDERS"]``.
        reason: "requests", "tokens", "day", "queue"; for a provider that is closed "throttled",
            "quota", "breaker" or "reopening".
        until: When it may be asked again, aware UTC, where that is known.
        is_final: Whether no waiting helps: such a call needs more than a limit ever allows.
    """

    code = "rate_limited"
    alias: str = ""
    reason: str = ""
    until: datetime | None = None
    is_final: bool = False


class SharedCallError(ObcAIError):
    """The call that asks the same, and that this one waited for, came to no answer."""

    code = "transient"
    retryable = True
