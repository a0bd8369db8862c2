"""The immutable values that cross the layers of the package."""

from __future__ import annotations

from django_obc_ai.types.backends import (
    BackendSpec,
)
from django_obc_ai.types.embedding import (
    EmbeddingPurpose,
    EmbeddingRequest,
    EmbeddingResponse,
)
from django_obc_ai.types.generation import (
    MODULES,
    OPERATION_TYPES,
    CallInfo,
    CallOutcome,
    FinishReason,
    GenerationRequest,
    GenerationResult,
    Message,
    ProviderResponse,
    Role,
    Source,
    StreamChunk,
)
from django_obc_ai.types.jobs import JobProgress, JobStatus
from django_obc_ai.types.money import (
    Amount,
    BudgetHold,
    BudgetTotals,
    ExpiredHold,
    PriceRow,
    Settlement,
    Unit,
    nano_from_usd,
    usd_from_nano,
)
from django_obc_ai.types.search import (
    ReplicaState,
    SearchHit,
    SearchResult,
)
from django_obc_ai.types.usage import Usage

__all__ = [
    "MODULES",
    "OPERATION_TYPES",
    "Amount",
    "BackendSpec",
    "BudgetHold",
    "BudgetTotals",
    "CallInfo",
    "CallOutcome",
    "EmbeddingPurpose",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "ExpiredHold",
    "FinishReason",
    "GenerationRequest",
    "GenerationResult",
    "JobProgress",
    "JobStatus",
    "Message",
    "PriceRow",
    "ProviderResponse",
    "ReplicaState",
    "Role",
    "SearchHit",
    "SearchResult",
    "Settlement",
    "Source",
    "StreamChunk",
    "Unit",
    "Usage",
    "nano_from_usd",
    "usd_from_nano",
]
