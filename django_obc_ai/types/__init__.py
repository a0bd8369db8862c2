"""The immutable values that cross the layers of the package.

Each module is imported when one of its names is first asked for: Django starts with few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from django_obc_ai.types.jobs import (
        JobProgress,
        JobStatus,
    )
    from django_obc_ai.types.money import (
        Amount,
        BudgetHold,
        BudgetTotals,
        ExpiredHold,
        PriceRow,
        Settlement,
        Unit,
    )
    from django_obc_ai.types.nano import (
        nano_from_usd,
        usd_from_nano,
    )
    from django_obc_ai.types.search import (
        ReplicaState,
        SearchHit,
        SearchResult,
    )
    from django_obc_ai.types.usage import (
        Usage,
    )

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

_HOMES = {
    "backends": ("BackendSpec",),
    "embedding": (
        "EmbeddingPurpose",
        "EmbeddingRequest",
        "EmbeddingResponse",
    ),
    "generation": (
        "MODULES",
        "OPERATION_TYPES",
        "CallInfo",
        "CallOutcome",
        "FinishReason",
        "GenerationRequest",
        "GenerationResult",
        "Message",
        "ProviderResponse",
        "Role",
        "Source",
        "StreamChunk",
    ),
    "jobs": (
        "JobProgress",
        "JobStatus",
    ),
    "money": (
        "Amount",
        "BudgetHold",
        "BudgetTotals",
        "ExpiredHold",
        "PriceRow",
        "Settlement",
        "Unit",
    ),
    "nano": (
        "nano_from_usd",
        "usd_from_nano",
    ),
    "search": (
        "ReplicaState",
        "SearchHit",
        "SearchResult",
    ),
    "usage": ("Usage",),
}


def __getattr__(name: str) -> Any:  # of any of these types
    for module, names in _HOMES.items():
        if name in names:
            found = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
