"""The admin: the ledger, budgets, indexes, providers, conversations and prompts."""

from __future__ import annotations

from django_obc_ai.admin.budgets import BudgetAdmin, BudgetAlertAdmin, BudgetChangeAdmin
from django_obc_ai.admin.content import StoredContentAdmin
from django_obc_ai.admin.conversations import ConversationAdmin
from django_obc_ai.admin.corrections import CostCorrectionAdmin
from django_obc_ai.admin.indexes import IndexStateAdmin
from django_obc_ai.admin.operations import AIOperationAdmin
from django_obc_ai.admin.prompts import PromptTemplateAdmin
from django_obc_ai.admin.providers import ProviderPauseAdmin

__all__ = [
    "AIOperationAdmin",
    "BudgetAdmin",
    "BudgetAlertAdmin",
    "BudgetChangeAdmin",
    "ConversationAdmin",
    "CostCorrectionAdmin",
    "IndexStateAdmin",
    "PromptTemplateAdmin",
    "ProviderPauseAdmin",
    "StoredContentAdmin",
]
