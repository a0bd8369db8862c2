"""Every error that django-obc-ai raises at run time, in one small hierarchy.

The instances are picklable and carry plain values only, so that they cross process
borders (Celery, multiprocessing) unchanged. No message holds an API key, prompt text
or personal data; backends that translate an SDK's error must keep it that way.

Configuration errors derive from Django's ``ImproperlyConfigured`` and not from
`ObcAIError`, so that no ``except ObcAIError`` hides a broken installation.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from django_obc_ai.types import Usage


class ObcAIError(Exception):
    """Base class of all run-time errors.

    Attributes:
        code: The category stored in ``AIOperation.error_category`` and returned as
            ``GenerationResult.error``.
        retryable: Whether the same request may succeed if it is sent again.
        retry_after_seconds: The wait that the server asked for, or None.
        usage: Tokens the provider reports as billed although the call failed, or None.
        model: The model that used them, where the provider named it; prices follow it.
        is_possibly_billed: Whether the request may have been billed although no usage
            was reported (True for a cut connection, False for a refused request).
    """

    code: str = "bad_response"
    retryable: bool = False
    is_possibly_billed: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        retry_after_seconds: float | None = None,
        usage: Usage | None = None,
        model: str = "",
        is_possibly_billed: bool | None = None,
    ) -> None:
        """Keep the message and the plain facts of the failure.

        Args:
            message: What was wrong, where, and what to do.
            retry_after_seconds: See the class.
            usage: See the class.
            model: See the class.
            is_possibly_billed: Overrides the class where the backend knows better.
        """
        super().__init__(message or (self.__doc__ or "").splitlines()[0])
        self.retry_after_seconds = retry_after_seconds
        self.usage = usage
        self.model = model
        if is_possibly_billed is not None:
            self.is_possibly_billed = is_possibly_billed

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by message and attributes; keyword-only arguments need this."""
        return (_rebuild, (type(self), str(self), dict(self.__dict__)))


def _rebuild(cls: type[ObcAIError], message: str, state: dict[str, Any]) -> ObcAIError:
    error = cls(message)
    error.__dict__.update(state)
    return error


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
    """

    code = "rate_limited"
    alias: str = ""
    reason: str = ""
    until: datetime | None = None


class SharedCallError(ObcAIError):
    """The call that asks the same, and that this one waited for, came to no answer."""

    code = "transient"
    retryable = True


class TaskRunnerError(ObcAIError):
    """The task runner's broker cannot be reached; nothing was handed over."""

    code = "transient"
    retryable = True


class JobQueuedError(ObcAIError):
    """The limits are used up, and the question waits as a job, which is answered later.

    Attributes:
        job_id: Of the job; ``GeminiService().job(job_id)`` tells how far it is.
    """

    code = "queued"
    job_id: UUID | None = None


class JobsFullError(ObcAIError):
    """As many jobs wait as ``OBC_AI["JOBS"]["most_waiting"]`` allows; nothing was queued."""

    code = "queue_full"
    retryable = True


class JobDeadlineError(ObcAIError):
    """The job's deadline passed before it was answered."""

    code = "deadline"


class JobCancelledError(ObcAIError):
    """Somebody cancelled the job."""

    code = "cancelled"


class UnknownJobError(ObcAIError):
    """There is no such job, or it has been deleted since it ended."""

    code = "invalid_request"


class SearchError(ObcAIError):
    """A search or an indexing run could not be carried out."""

    code = "invalid_request"


class UnknownIndexError(SearchError):
    """No index of that name is registered."""


class IndexNotReadyError(SearchError):
    """The index has not been built with the embedder that is configured now."""


class DimensionMismatchError(SearchError):
    """Vectors do not have the dimension the index was built with."""


class InvalidFilterError(SearchError):
    """A search filter names a field that the index does not offer for filtering."""


class DangerousQuery(ObcAIError):
    """A message or plan asks for what chat may not do; nothing was executed.

    Attributes:
        phrase: What chat says of it in the language of the question, "" for the message itself.
        amount: The number in that phrase, as text.
    """

    code = "dangerous_query"

    def __init__(
        self, message: str = "", *, phrase: str = "", amount: str = "", **facts: Any
    ) -> None:
        """Keep the message, what chat says of it, and the facts of `ObcAIError`."""
        super().__init__(message, **facts)
        self.phrase = phrase
        self.amount = amount


class UnknownConversationError(ObcAIError):
    """The user has no such conversation or message; those of others are as absent."""

    code = "invalid_request"


class ConfigurationError(ImproperlyConfigured):
    """``OBC_AI`` holds something wrong; the message names the place and the way out.

    Attributes:
        check_id: The system check that reports the same fault, for example "E001".
        hint: What to do about it.
    """

    code = "configuration"

    def __init__(self, message: str, *, hint: str = "", check_id: str = "E002") -> None:
        """Keep message and hint apart, so that system checks can show both."""
        super().__init__(message, hint, check_id)
        self.message = message
        self.hint = hint
        self.check_id = check_id

    def __str__(self) -> str:
        """Return message and hint as one text."""
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by value."""
        return (_rebuild_configuration, (type(self), self.message, self.hint, self.check_id))


def _rebuild_configuration(
    cls: type[ConfigurationError], message: str, hint: str, check_id: str
) -> ConfigurationError:
    return cls(message, hint=hint, check_id=check_id)


class MissingDependencyError(ConfigurationError):
    """An optional package is not installed; the message holds the pip command."""
