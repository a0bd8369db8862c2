"""The admin of budgets, their history and their alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from django_obc_ai.admin.readonly import ReadOnly
from django_obc_ai.models import Budget, BudgetAlert, BudgetChange
from django_obc_ai.models.fields import NAME_LENGTH

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
        if request.method == "GET" and self.has_view_or_change_permission(request):
            tell_of_alerts(request)
        return super().changelist_view(request, extra_context)


@admin.register(BudgetChange)
class BudgetChangeAdmin(ReadOnly, ModelAdmin):
    """Look at who changed which budget."""

    list_display = ("changed_at", "budget_id", "changed_by", "before", "after")


@admin.register(BudgetAlert)
class BudgetAlertAdmin(ReadOnly, ModelAdmin):
    """Look at the thresholds that were reached, and acknowledge them."""

    list_display = (
        "created_at",
        "key",
        "percent",
        "level",
        "unit",
        "spent",
        "limit",
        "resets_at",
        "acknowledged_by",
        "acknowledged_at",
    )
    list_filter = ("level", "percent", ("acknowledged_at", admin.EmptyFieldListFilter))
    actions = ("acknowledge",)

    @admin.action(description="Acknowledge the chosen alerts", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[BudgetAlert]) -> None:
        """Note who has seen to them; the admin reminds nobody of them any more."""
        now, who, done = timezone.now(), str(request.user.get_username())[:NAME_LENGTH], 0
        for alert in queryset:
            waiting = BudgetAlert.objects.filter(pk=alert.pk, acknowledged_at=None)
            if waiting.update(acknowledged_by=who, acknowledged_at=now):
                self.log_change(request, alert, "Acknowledged.")
                done += 1
        text = f"Acknowledged: {done} of {len(queryset)}."
        self.message_user(request, text, messages.SUCCESS if done else messages.WARNING)

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        """Return whether somebody may change alerts, of which this is the only way."""
        return request.user.has_perm("django_obc_ai.change_budgetalert")


def tell_of_alerts(request: HttpRequest) -> None:
    """Add a message for the highest threshold of each budget in its present period.

    None for one that was acknowledged: who has seen to 90 % knows of 75 %.
    """
    running = BudgetAlert.objects.filter(Q(resets_at=None) | Q(resets_at__gt=timezone.now()))
    highest: dict[str, BudgetAlert] = {}
    for alert in running.order_by("percent"):
        highest[alert.key] = alert
    for alert in highest.values():
        if alert.acknowledged_at is not None:
            continue
        level = messages.ERROR if alert.level == "critical" else messages.WARNING
        text = f"The budget {alert.key} has reached {alert.percent} % of its limit."
        messages.add_message(request, level, text)
