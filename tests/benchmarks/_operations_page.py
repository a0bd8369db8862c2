"""The admin's list of operations, timed: plain, with filters, searches and days, and one detail."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

LIST_LIMIT_MS = 200
#: What is asked for, by the name in the report.
FILTERS = {
    "plain": {},
    "last page": {"p": "200"},
    "by module": {"module": "mana"},
    "by type": {"operation_type": "chat"},
    "by model": {"model_used": "gemini-2.5-flash"},
    "a model that is gone": {"model_used": "gone"},
    "failed": {"success__exact": "0"},
    "by error": {"error_category": "timeout"},
    "an error that never was": {"error_category": "abandoned"},
    "cached": {"cached__exact": "1"},
    "coalesced": {"coalesced__exact": "1"},
    "another provider": {"fell_back": "yes"},
    "cost not known": {"cost_known__exact": "0"},
    "by user": {"user__id__exact": "7"},
}


def timed(work: Callable[[], Any], runs: int) -> float:
    """Return the median in milliseconds, after a run that does not count."""
    work()
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def pages(client: Any) -> dict[str, Callable[[], None]]:
    """Return what fetches each page, by name; every one must answer."""
    from django.urls import reverse
    from django.utils import timezone

    from django_obc_ai.models import AIOperation

    url = reverse("admin:django_obc_ai_aioperation_changelist")
    rows = AIOperation.objects.order_by("created_at")
    middle = rows[rows.count() // 2]
    day = timezone.localtime(middle.created_at)
    month = {"created_at__year": day.year, "created_at__month": day.month}
    asked: dict[str, dict[str, Any]] = {
        **FILTERS,
        "search by id": {"q": str(middle.pk)},
        "search by prompt hash": {"q": middle.prompt_hash},
        "search in vain": {"q": "no-such-tenant"},
        "a month": month,
        "a day": {**month, "created_at__day": day.day},
    }

    def fetch(place: str, query: dict[str, Any]) -> Callable[[], None]:
        def run() -> None:
            assert client.get(place, query).status_code == 200

        return run

    found = {name: fetch(url, query) for name, query in asked.items()}
    detail = reverse("admin:django_obc_ai_aioperation_change", args=[middle.pk])
    return {**found, "one operation": fetch(detail, {})}


def bare(client: Any) -> Callable[[], None]:
    """Return what fetches the list as Django makes it by itself: the named alternative."""
    from django.contrib import admin
    from django.contrib.admin.views.main import ChangeList
    from django.contrib.auth import get_user_model
    from django.core.paginator import Paginator
    from django.test import RequestFactory
    from django.urls import reverse

    from django_obc_ai.admin import AIOperationAdmin
    from django_obc_ai.models import AIOperation

    class Bare(AIOperationAdmin):
        list_filter = (
            "created_at", "success", "cached", "operation_type", "module", "model_used",
            "error_category",
        )  # fmt: skip
        paginator = Paginator
        change_list_template = "admin/change_list.html"

        def get_changelist(self, request: Any, **kwargs: Any) -> Any:
            return ChangeList

    request: Any = RequestFactory().get(reverse("admin:django_obc_ai_aioperation_changelist"))
    request.user = get_user_model().objects.get(pk=client.session["_auth_user_id"])
    made = Bare(AIOperation, admin.site)

    def run() -> None:
        response: Any = made.changelist_view(request)
        assert response.render().status_code == 200

    return run


def measure_pages(client: Any, runs: int) -> dict[str, float]:
    """Return milliseconds by name; "bare" is the list as Django makes it by itself."""
    found = {name: timed(work, runs) for name, work in pages(client).items()}
    return {**found, "bare": timed(bare(client), 1)}


def report(found: dict[str, dict[str, float]]) -> list[str]:
    """Return the lines of the report, of what was measured by database."""
    names = next(iter(found.values()))
    lines = ["", "## The list of operations", "", f"| page | {' | '.join(found)} |"]
    lines += ["|---|" + "---|" * len(found)]
    for name in names:
        label = "plain, as Django makes it by itself" if name == "bare" else name
        cells = " | ".join(f"{ms[name]:.0f} ms" for ms in found.values())
        lines.append(f"| {label} | {cells} |")
    return lines


def slowest(found: dict[str, dict[str, float]]) -> float:
    """Return the slowest page of ours, in milliseconds."""
    return max(ms[name] for ms in found.values() for name in ms if name != "bare")
