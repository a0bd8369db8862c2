"""Every error that django-obc-ai raises at run time, in one small hierarchy.

The instances are picklable and carry plain values only, so that they cross process
borders (Celery, multiprocessing) unchanged. No message holds an API key, prompt text
or personal data; backends that translate an SDK's error must keep it that way.

Configuration errors derive from Django's ``ImproperlyConfigured`` and not from
`ObcAIError`, so that no ``except ObcAIError`` hides a broken installation.
"""

from __future__ import annotations

from django_obc_ai.exceptions._base import (
    ObcAIError,
)
from django_obc_ai.exceptions._calls import (
    AbandonedCallError,
    AuthenticationError,
    BadResponseError,
    BudgetExceededError,
    ContentBlockedError,
    CoordinatorError,
    CostStoreError,
    CostStoreLostError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    ProviderPausedError,
    ProviderTimeoutError,
    QuotaExhaustedError,
    RateLimitedError,
    RateLimitError,
    SharedCallError,
    StreamInterruptedError,
    TransientError,
)
from django_obc_ai.exceptions._configuration import (
    ConfigurationError,
    MissingDependencyError,
)
from django_obc_ai.exceptions._services import (
    DangerousQuery,
    DimensionMismatchError,
    IndexNotReadyError,
    InvalidFilterError,
    JobCancelledError,
    JobDeadlineError,
    JobQueuedError,
    JobsFullError,
    SearchError,
    TaskRunnerError,
    UnknownConversationError,
    UnknownIndexError,
    UnknownJobError,
)

__all__ = [
    "AbandonedCallError",
    "AuthenticationError",
    "BadResponseError",
    "BudgetExceededError",
    "ConfigurationError",
    "ContentBlockedError",
    "CoordinatorError",
    "CostStoreError",
    "CostStoreLostError",
    "DangerousQuery",
    "DimensionMismatchError",
    "IndexNotReadyError",
    "InvalidFilterError",
    "InvalidRequestError",
    "JobCancelledError",
    "JobDeadlineError",
    "JobQueuedError",
    "JobsFullError",
    "MissingDependencyError",
    "ModelNotFoundError",
    "ObcAIError",
    "ProviderError",
    "ProviderPausedError",
    "ProviderTimeoutError",
    "QuotaExhaustedError",
    "RateLimitError",
    "RateLimitedError",
    "SearchError",
    "SharedCallError",
    "StreamInterruptedError",
    "TaskRunnerError",
    "TransientError",
    "UnknownConversationError",
    "UnknownIndexError",
    "UnknownJobError",
]

for _name in __all__:  # as people import them, so do tracebacks and pickles name them
    globals()[_name].__module__ = __name__
