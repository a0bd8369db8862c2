"""Models of django-obc-ai: the ledger, the cost store's tables, the index and chat."""

from __future__ import annotations

from django_obc_ai.models.budgets import Budget, BudgetAlert, BudgetChange, CostStoreMark
from django_obc_ai.models.chat import ChatMessage, Conversation
from django_obc_ai.models.content import StoredContent
from django_obc_ai.models.coordination import GateRow
from django_obc_ai.models.costs import CostReservation, CostTotal
from django_obc_ai.models.fields import NanoDollarField
from django_obc_ai.models.flights import Flight
from django_obc_ai.models.indexes import (
    Chunk,
    DirtyRow,
    IndexFailure,
    IndexGeneration,
    IndexState,
    IndexVersion,
    Tombstone,
)
from django_obc_ai.models.jobs import Job, JobHold, TaskState, Worker
from django_obc_ai.models.ledger import Ledger
from django_obc_ai.models.operations import AIOperation, CostCorrection
from django_obc_ai.models.operators import IndexRequest, ProviderPause
from django_obc_ai.models.prompts import PromptTemplate
from django_obc_ai.models.rollups import OperationRollup, RollupMark

__all__ = [
    "AIOperation",
    "Budget",
    "BudgetAlert",
    "BudgetChange",
    "ChatMessage",
    "Chunk",
    "Conversation",
    "CostCorrection",
    "CostReservation",
    "CostStoreMark",
    "CostTotal",
    "DirtyRow",
    "Flight",
    "GateRow",
    "IndexFailure",
    "IndexGeneration",
    "IndexRequest",
    "IndexState",
    "IndexVersion",
    "Job",
    "JobHold",
    "Ledger",
    "NanoDollarField",
    "OperationRollup",
    "PromptTemplate",
    "ProviderPause",
    "RollupMark",
    "StoredContent",
    "TaskState",
    "Tombstone",
    "Worker",
]
