"""The admin of corrections: which costs were changed, why and by whom."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from django_obc_ai.admin.readonly import ReadOnly
from django_obc_ai.models import AIOperation, CostCorrection

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[CostCorrection]  # generic in the stubs only
    TabularInline = admin.TabularInline[CostCorrection, AIOperation]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline


@admin.register(CostCorrection)
class CostCorrectionAdmin(ReadOnly, ModelAdmin):
    """Look at corrections; `reprice_operations` and `reconcile_costs` write them."""

    list_display = ("created_at", "kind", "change", "reason", "made_by", "of_operation")
    list_filter = ("created_at", "kind", "made_by")
    search_fields = ("made_by__exact",)
    search_help_text = "Exact id of a run or of an operation, or who did it"
    date_hierarchy = "created_at"
    fields = (
        "created_at",
        "kind",
        "old_cost_usd",
        "new_cost_usd",
        "was_cost_known",
        "reason",
        "made_by",
        "run",
        "of_operation",
    )

    @admin.display(description="Change")
    def change(self, correction: CostCorrection) -> str:
        """Return both amounts in US dollars."""
        return f"${correction.old_cost_usd:.6f} → ${correction.new_cost_usd:.6f}"

    @admin.display(description="Operation")
    def of_operation(self, correction: CostCorrection) -> str:
        """Return a link to the operation."""
        key = correction.operation_id
        url = reverse(f"{self.admin_site.name}:django_obc_ai_aioperation_change", args=[key])
        return format_html('<a href="{}">{}</a>', url, key)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[CostCorrection], search_term: str
    ) -> tuple[QuerySet[CostCorrection], bool]:
        """Look for ids, too, which databases write in different ways."""
        found, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        with suppress(ValueError):
            key = UUID(search_term.strip())
            found |= queryset.filter(Q(run=key) | Q(operation_id=key))
        return found, may_have_duplicates

    def get_queryset(self, request: HttpRequest) -> QuerySet[CostCorrection]:
        """Return the corrections from the database they live in."""
        return CostCorrection.objects.order_by("-created_at")


class CostCorrectionInline(ReadOnly, TabularInline):
    """What was corrected of one operation."""

    model = CostCorrection
    fields = ("created_at", "kind", "old_cost_usd", "new_cost_usd", "reason", "made_by")
    verbose_name_plural = "corrections"
    extra = 0

    def get_queryset(self, request: HttpRequest) -> Any:
        """See `CostCorrectionAdmin.get_queryset`."""
        return CostCorrection.objects.order_by("created_at")
