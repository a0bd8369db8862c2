"""The dashboard: what the AI costs, who uses it, how well it works, what needs a hand."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from django_obc_ai.admin import dashboard_tables as tables
from django_obc_ai.admin.people import users_are_near
from django_obc_ai.exceptions import ConfigurationError, CostStoreError
from django_obc_ai.models import AIOperation, BudgetAlert
from django_obc_ai.querysets import current_day, day_bounds
from django_obc_ai.safe_csv import write_rows
from django_obc_ai.services import figures
from django_obc_ai.services.tally import DIMENSIONS

PERMISSION = "django_obc_ai.view_dashboard"
MOST_DAYS = 366
_DEFAULT_DAYS = 30
_REPEATED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The days and the breakdown that are shown."""

    first: datetime.date
    last: datetime.date
    by: str

    def query(self, **changes: Any) -> str:
        """Return the choice as a query string, with changes."""
        values = {"from": self.first, "to": self.last, "by": self.by, **changes}
        return urlencode(values)


def view(request: HttpRequest, site: Any) -> HttpResponse:
    """Answer with the page. Any: an admin site."""
    check(request)
    choice = choice_of(request)
    found = figures.read_figures(choice.first, choice.last, by=choice.by)
    gauges: list[figures.Gauge] = []
    try:
        gauges = figures.read_gauges()
    except (CostStoreError, ConfigurationError) as error:
        messages.error(request, f"Budgets cannot be shown: {error}")
    names = names_of(each for each in found.total.by["user"] if each)
    link = Link(site, choice)
    context = {
        **site.each_context(request),
        "title": "AI dashboard",
        "choice": choice,
        "presets": presets(choice),
        "dimensions": [(name, name.replace("_", " ")) for name in DIMENSIONS],
        "figures": found,
        "tiles": tables.tiles(found, link),
        "spend": tables.spend(found, names, link),
        "calls": tables.calls(found, link),
        "times": tables.times(found),
        "errors": tables.errors(found, link),
        "tokens": tables.tokens(found),
        "users": tables.users(found, names, link),
        "dearest": tables.operations(found.total.dearest, "cost", site),
        "slowest": tables.operations(found.total.slowest, "time", site),
        "gauges": gauges,
        "alerts": BudgetAlert.objects.order_by("-created_at")[:5],
        "indexes": figures.read_indexes(),
        "repeated_url": reverse(f"{site.name}:django_obc_ai_dashboard_repeated"),
    }
    context["data"] = {name: context[name].data for name in ("spend", "calls", "times")}
    return TemplateResponse(request, "admin/django_obc_ai/dashboard.html", context)


def csv(request: HttpRequest, site: Any, table: str) -> HttpResponse:
    """Answer with one table as CSV."""
    check(request)
    choice = choice_of(request)
    found = figures.read_figures(choice.first, choice.last, by=choice.by)
    names = names_of(each for each in found.total.by["user"] if each)
    link = Link(site, choice)
    made = {
        "spend": lambda: tables.spend(found, names, link),
        "calls": lambda: tables.calls(found, link),
        "times": lambda: tables.times(found),
        "users": lambda: tables.users(found, names, link),
    }
    if table not in made:
        raise Http404("There is no such table.")
    shown = made[table]()
    response = HttpResponse(
        write_rows(shown.header, shown.plain), content_type="text/csv; charset=utf-8"
    )
    name = f"ai-{table}-{choice.first}-{choice.last}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def repeated(request: HttpRequest, site: Any) -> HttpResponse:
    """Answer with the prompts that were paid for again, a part of the page loaded later."""
    check(request)
    choice = choice_of(request)
    rows = AIOperation.objects.between(choice.first, choice.last).repeated_prompts(_REPEATED)
    link = Link(site, choice)
    context = {
        "rows": [{**row, "url": link(prompt_hash=row["prompt_hash"])} for row in rows],
    }
    return TemplateResponse(request, "admin/django_obc_ai/repeated.html", context)


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
    """Return the names of users by key; without names where users live elsewhere."""
    wanted = list(keys)
    if not users_are_near():
        return {key: f"#{key}" for key in wanted}
    found = get_user_model()._default_manager.in_bulk(wanted[:500])
    return {key: f"#{key}" for key in wanted} | {str(pk): str(u) for pk, u in found.items()}


class Link:
    """Addresses of the filtered list of operations, within the chosen days."""

    def __init__(self, site: Any, choice: Choice) -> None:
        """Take the admin site (Any) and the days."""
        self._url = reverse(f"{site.name}:django_obc_ai_aioperation_changelist")
        self._choice = choice

    def __call__(self, *, first: datetime.date | None = None, **more: Any) -> str:
        """Return the address of one day, by default of the chosen ones, with more filters."""
        start, end = day_bounds(first or self._choice.first, first or self._choice.last)
        values = {"created_at__gte": start.isoformat(), "created_at__lt": end.isoformat()}
        return f"{self._url}?{urlencode({**values, **more})}"
