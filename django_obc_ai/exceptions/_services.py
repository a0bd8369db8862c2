"""Errors of jobs, search and chat."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django_obc_ai.exceptions._base import ObcAIError


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
