"""The dashboard: what the AI costs, who uses it, how well it works, what needs a hand."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from django_obc_ai.admin import audit
from django_obc_ai.admin import dashboard_tables as tables
from django_obc_ai.admin import dashboard_tiles as tiles
from django_obc_ai.admin.dashboard_background import panel
from django_obc_ai.admin.dashboard_limits import limit_rows
from django_obc_ai.admin.dashboard_links import Choice, Link
from django_obc_ai.admin.people import users_are_near
from django_obc_ai.exceptions import ConfigurationError, CostStoreError
from django_obc_ai.models import AIOperation, BudgetAlert
from django_obc_ai.querysets import current_day
from django_obc_ai.safe_csv import write_rows
from django_obc_ai.services import figures
from django_obc_ai.services.attention import read_concerns
from django_obc_ai.services.background import read_background
from django_obc_ai.services.limits import limits_now
from django_obc_ai.services.pauses import paused_providers
from django_obc_ai.services.tally import DIMENSIONS

PERMISSION = "django_obc_ai.view_dashboard"
MOST_DAYS = 366
_DEFAULT_DAYS = 30
_REPEATED = 10
_CHARTS = {
    "spend": "Spend by day",
    "calls": "Operations by day",
    "times": "Response times by day, within 5 %",
}


def view(request: HttpRequest, site: Any) -> HttpResponse:
    """Answer with the page. Any: an admin site."""
    check(request)
    choice = choice_of(request)
    shown = read_shown(request, site, choice)
    found, link = shown.found, shown.link
    gauges: list[figures.Gauge] = []
    try:
        gauges = figures.read_gauges()
    except (CostStoreError, ConfigurationError) as error:
        messages.error(request, f"Budgets cannot be shown: {error}")
    indexes, limits, background = figures.read_indexes(), limits_now(), read_background()
    paused = paused_providers().values()
    concerns = read_concerns(found, gauges, indexes, limits, paused, background)
    made = {name: make(shown) for name, make in tables.TABLES.items()}
    dashboard = f"{site.name}:django_obc_ai_dashboard"
    context = {
        **site.each_context(request),
        "title": "AI dashboard",
        "choice": choice,
        "presets": presets(choice),
        "dimensions": [(name, name.replace("_", " ")) for name in DIMENSIONS],
        "figures": found,
        "concerns": tiles.concern_rows(concerns, link, found),
        "tiles": tiles.tiles(found, link),
        "charts": [(name, title, made[name]) for name, title in _CHARTS.items()],
        "tables": made,
        "gauges": tiles.gauge_rows(gauges, link),
        "alerts": BudgetAlert.objects.order_by("-created_at")[:5],
        "alerts_url": link.to("budgetalert"),
        "budgets_url": link.to("budget"),
        "limits": limit_rows(limits, link),
        "background": panel(background, link),
        "indexes": indexes,
        "repeated_url": reverse(f"{dashboard}_repeated"),
        "data": {name: made[name].data for name in _CHARTS},
    }
    return TemplateResponse(request, "admin/django_obc_ai/dashboard.html", context)


def csv(request: HttpRequest, site: Any, table: str) -> HttpResponse:
    """Answer with one table as CSV."""
    check(request)
    choice = choice_of(request)
    if table == "repeated":
        shown = read_repeated(request, site, choice)
    elif table in tables.TABLES:
        shown = tables.TABLES[table](read_shown(request, site, choice))
    else:
        raise Http404("There is no such table.")
    response = HttpResponse(
        write_rows(shown.header, shown.plain), content_type="text/csv; charset=utf-8"
    )
    audit.note(request, AIOperation, "CSV file", f"Downloaded {table} as CSV: {choice.query()}")
    name = f"ai-{table}-{choice.first}-{choice.last}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def repeated(request: HttpRequest, site: Any) -> HttpResponse:
    """Answer with the prompts that were paid for again, a part of the page loaded later."""
    check(request)
    table = read_repeated(request, site, choice_of(request))
    context = {"table": table, "name": "repeated", "title": "Prompts paid for again"}
    return TemplateResponse(request, "admin/django_obc_ai/table.html", context)


def read_shown(request: HttpRequest, site: Any, choice: Choice) -> tables.Shown:
    """Read what all tables are made of."""
    found = figures.read_figures(choice.first, choice.last, by=choice.by)
    kept = read_kept([key for _, key in (*found.total.dearest, *found.total.slowest)])
    callers = {str(row["user_id"]) for row in kept.values() if row["user_id"] is not None}
    names = names_of({*tables.users_shown(found), *callers})
    return tables.Shown(found=found, link=Link(request, site, choice), names=names, kept=kept)


def read_repeated(request: HttpRequest, site: Any, choice: Choice) -> tables.Table:
    """Return the prompts that were paid for again."""
    rows = AIOperation.objects.between(choice.first, choice.last).repeated_prompts(_REPEATED)
    return tables.repeated(rows, Link(request, site, choice))


def read_kept(keys: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return what is told of single operations, by key; of those that are still there."""
    columns = ("pk", "created_at", "module", "operation_type", "model_used", "user_id")
    rows = AIOperation.objects.filter(pk__in=set(keys)).order_by().values(*columns)
    return {str(row["pk"]): {**row, "began": _local(row["created_at"])} for row in rows}


def _local(moment: datetime.datetime) -> datetime.datetime:
    is_aware = timezone.is_aware(moment)
    return timezone.localtime(moment, timezone.get_default_timezone()) if is_aware else moment


def check(request: HttpRequest) -> None:
    """Raise PermissionDenied for whoever may not see the dashboard."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied("The AI dashboard needs the permission view_dashboard.")


def choice_of(request: HttpRequest) -> Choice:
    """Return what the address asks for; what cannot be read is said, and left out."""
    today = current_day()
    last = _day(request, "to", today)
    first = _day(request, "from", last - datetime.timedelta(days=_DEFAULT_DAYS - 1))
    if first > last:
        first, last = last, first
    if (last - first).days >= MOST_DAYS:
        first = last - datetime.timedelta(days=MOST_DAYS - 1)
        messages.warning(request, f"At most {MOST_DAYS} days are shown at once.")
    by = request.GET.get("by", "module")
    return Choice(first=first, last=last, by=by if by in DIMENSIONS else "module")


def _day(request: HttpRequest, name: str, default: datetime.date) -> datetime.date:
    text = request.GET.get(name, "")
    if not text:
        return default
    try:
        found = datetime.date.fromisoformat(text)
    except ValueError:
        messages.warning(request, f"“{text[:20]}” is no date; write YYYY-MM-DD.")
        return default
    return min(max(found, datetime.date(2000, 1, 1)), datetime.date(2999, 12, 31))


def presets(choice: Choice) -> list[tuple[str, str, bool]]:
    """Return (label, query, is chosen) of the usual ranges."""
    today, day = current_day(), datetime.timedelta(days=1)
    month = today.replace(day=1)
    before = (month - day).replace(day=1)
    ranges = {
        "Today": (today, today),
        "7 days": (today - 6 * day, today),
        "30 days": (today - 29 * day, today),
        "90 days": (today - 89 * day, today),
        "This month": (month, today),
        "Last month": (before, month - day),
    }
    return [
        (
            label,
            choice.query(**{"from": first, "to": last}),
            (first, last) == (choice.first, choice.last),
        )
        for label, (first, last) in ranges.items()
    ]


def names_of(keys: Iterable[str]) -> dict[str, str]:
    """Return the names of users by key; of those that are deleted, none.

    Where users live in another database each is named by the key.
    """
    if not users_are_near():
        return {key: f"#{key}" for key in keys}
    found = get_user_model()._default_manager.in_bulk(list(keys))
    return {str(key): str(user) for key, user in found.items()}
