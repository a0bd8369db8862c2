"""The admin of budgets, their history and their alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from django_obc_ai.admin.readonly import ReadOnly
from django_obc_ai.models import Budget, BudgetAlert, BudgetChange

if TYPE_CHECKING:
    BudgetBase = admin.ModelAdmin[Budget]  # generic in the stubs only
    ModelAdmin = admin.ModelAdmin[Any]
else:
    BudgetBase = ModelAdmin = admin.ModelAdmin


@admin.register(Budget)
class BudgetAdmin(BudgetBase):
    """Set budgets; the next call of every process knows them."""

    list_display = (
        "scope",
        "key",
        "period",
        "limit_usd",
        "limit_tokens",
        "limit_requests",
        "enforce",
    )
    list_filter = ("scope", "period", "enforce")

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        """Save, and note who it was."""
        obj.changed_by = request.user
        super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        """Delete, and note who it was."""
        obj.changed_by = request.user
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Delete one by one, so that the history knows each."""
        for budget in queryset:
            self.delete_model(request, budget)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show a message for each threshold that is reached in a period under way."""
        if request.method == "GET":
            tell_of_alerts(request)
        return super().changelist_view(request, extra_context)


@admin.register(BudgetChange)
class BudgetChangeAdmin(ReadOnly, ModelAdmin):
    """Look at who changed which budget."""

    list_display = ("changed_at", "budget_id", "changed_by", "before", "after")


@admin.register(BudgetAlert)
class BudgetAlertAdmin(ReadOnly, ModelAdmin):
    """Look at the thresholds that were reached."""

    list_display = ("created_at", "key", "percent", "level", "unit", "spent", "limit", "resets_at")
    list_filter = ("level", "percent")


def tell_of_alerts(request: HttpRequest) -> None:
    """Add a message for the highest threshold of each budget in its present period."""
    running = BudgetAlert.objects.filter(Q(resets_at=None) | Q(resets_at__gt=timezone.now()))
    highest: dict[str, BudgetAlert] = {}
    for alert in running.order_by("percent"):
        highest[alert.key] = alert
    for alert in highest.values():
        level = messages.ERROR if alert.level == "critical" else messages.WARNING
        text = f"The budget {alert.key} has reached {alert.percent} % of its limit."
        messages.add_message(request, level, text)
