"""The admin of the ledger: read-only, for people with the view permission."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from django_obc_ai.models import AIOperation

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[AIOperation]  # generic in the stubs only
else:
    ModelAdmin = admin.ModelAdmin


@admin.register(AIOperation)
class AIOperationAdmin(ModelAdmin):
    """Look at operations; nobody adds, edits or deletes them here."""

    list_display = (
        "created_at",
        "operation_type",
        "module",
        "user",
        "model_used",
        "tokens",
        "cost",
        "response_time_ms",
        "cached",
        "success",
        "error_category",
    )
    list_filter = (
        "created_at",
        "success",
        "cached",
        "operation_type",
        "module",
        "model_used",
        "error_category",
    )
    search_fields = ("id__exact", "scope__exact", "prompt_hash__exact")
    search_help_text = "Exact operation id, scope or prompt hash"
    date_hierarchy = "created_at"
    list_select_related = ("user",)
    show_full_result_count = False

    @admin.display(description="Tokens")
    def tokens(self, operation: AIOperation) -> str:
        """Return all billed tokens, marked where they are not the provider's own count."""
        return f"{operation.total_tokens:,}" + ("" if operation.tokens_exact else " ≈")

    @admin.display(description="Cost", ordering="cost_usd")
    def cost(self, operation: AIOperation) -> str:
        """Return US dollars, marked where the price is not known."""
        return f"${operation.cost_usd:.6f}" + ("" if operation.cost_known else " ?")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AIOperation]:
        """Return the ledger from the database it lives in."""
        return AIOperation.objects.all().order_by("-created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False
