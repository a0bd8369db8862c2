"""The admin: the ledger, budgets, indexes, providers, conversations, prompts and jobs."""

from __future__ import annotations

from django_obc_ai.admin.budgets import BudgetAdmin, BudgetAlertAdmin, BudgetChangeAdmin
from django_obc_ai.admin.content import StoredContentAdmin
from django_obc_ai.admin.conversations import ConversationAdmin
from django_obc_ai.admin.corrections import CostCorrectionAdmin
from django_obc_ai.admin.indexes import IndexStateAdmin
from django_obc_ai.admin.jobs import JobAdmin
from django_obc_ai.admin.operations import AIOperationAdmin
from django_obc_ai.admin.prompts import PromptTemplateAdmin
from django_obc_ai.admin.providers import ProviderPauseAdmin
from django_obc_ai.admin.tasks import TaskStateAdmin, WorkerAdmin

__all__ = [
    "AIOperationAdmin",
    "BudgetAdmin",
    "BudgetAlertAdmin",
    "BudgetChangeAdmin",
    "ConversationAdmin",
    "CostCorrectionAdmin",
    "IndexStateAdmin",
    "JobAdmin",
    "PromptTemplateAdmin",
    "ProviderPauseAdmin",
    "StoredContentAdmin",
    "TaskStateAdmin",
    "WorkerAdmin",
]
