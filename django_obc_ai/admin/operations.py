"""The admin of the ledger: read-only, for people with the view permission."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial, reduce
from operator import or_
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join

from django_obc_ai.admin import audit
from django_obc_ai.admin.corrections import CostCorrectionInline
from django_obc_ai.admin.dashboard_links import find_page
from django_obc_ai.admin.large_lists import (
    BoundedPaginator,
    ErrorFilter,
    FallbackFilter,
    LargeChangeList,
    ValuesInUseFilter,
)
from django_obc_ai.admin.people import key_of, name_of, users_are_near
from django_obc_ai.admin.readonly import ReadOnly
from django_obc_ai.models import AIOperation, StoredContent

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[AIOperation]  # generic in the stubs only
else:
    ModelAdmin = admin.ModelAdmin

_HASH = re.compile(r"[0-9a-f]{64}")


@admin.register(AIOperation)
class AIOperationAdmin(ReadOnly, ModelAdmin):
    """Look at operations; nobody adds, edits or deletes them here."""

    list_display = (
        "created_at",
        "operation_type",
        "module",
        "caller",
        "model_used",
        "tokens",
        "cost",
        "response_time_ms",
        "cached",
        "coalesced",
        "success",
        "error_category",
    )
    list_filter = (
        "created_at",
        "success",
        "cached",
        "coalesced",
        FallbackFilter,
        ("operation_type", ValuesInUseFilter),
        ("module", ValuesInUseFilter),
        ("model_used", ValuesInUseFilter),
        ("error_category", ErrorFilter),
    )
    search_fields = ("scope__exact", "prompt_hash__exact")
    search_help_text = "Exact operation id, scope, user name or prompt hash"
    date_hierarchy = "created_at"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would be counted over all rows
    list_per_page = 50  # what takes time is to write the rows
    paginator = BoundedPaginator
    inlines = (CostCorrectionInline,)

    def get_urls(self) -> list[Any]:
        """Add the dashboard and its parts, and the list as a file."""
        site = self.admin_site
        download = site.admin_view(self.csv_view)
        mine = [path("csv/", download, name="django_obc_ai_aioperation_csv")]
        for route, view, name in (
            ("dashboard/", "view", ""),
            ("dashboard/repeated/", "repeated", "_repeated"),
            ("dashboard/<slug:table>.csv", "csv", "_csv"),
        ):
            answer = site.admin_view(partial(_dashboard, view, site=site))
            mine.append(path(route, answer, name=f"django_obc_ai_dashboard{name}"))
        return [*mine, *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LargeChangeList]:
        """Return a list that reads a bounded number of rows."""
        return LargeChangeList

    def csv_view(self, request: HttpRequest) -> HttpResponseBase:
        """Answer with all rows that the list has under the same filters."""
        from django_obc_ai.admin.downloads import operations_csv

        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            rows: Any = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            url = reverse(f"{self.admin_site.name}:django_obc_ai_aioperation_changelist")
            return HttpResponseRedirect(f"{url}?e=1")
        chosen = request.GET.urlencode() or "everything"
        audit.note(request, AIOperation, "CSV file", f"Downloaded as CSV: {chosen}")
        return operations_csv(request, rows)

    @admin.display(description="Tokens")
    def tokens(self, operation: AIOperation) -> str:
        """Return all billed tokens, marked where they are not the provider's own count."""
        return f"{operation.total_tokens:,}" + ("" if operation.tokens_exact else " ≈")

    @admin.display(description="User", ordering="user_id")
    def caller(self, operation: AIOperation) -> str:
        """Return the user's name, or only the key where users live in another database."""
        return name_of(operation, "user")

    @admin.display(description="Cost", ordering="cost_usd")
    def cost(self, operation: AIOperation) -> str:
        """Return US dollars, marked where the price is not known."""
        return f"${operation.cost_usd:.6f}" + ("" if operation.cost_known else " ?")

    @admin.display(description="In words")
    def explanation(self, operation: AIOperation) -> str:
        """Return the cost line by line."""
        from django_obc_ai.services.explanation import explain_cost

        return format_html_join("", "<div>{}</div>", ((each,) for each in explain_cost(operation)))

    @admin.display(description="Prompt and answer")
    def texts(self, operation: AIOperation) -> str:
        """Return the way to what was stored of it."""
        url = find_page(self.admin_site.name, "storedcontent", operation.pk)
        return format_html('<a href="{}">Stored texts</a>', url) if url else "Stored"

    def get_queryset(self, request: HttpRequest) -> QuerySet[AIOperation]:
        """Return the ledger from the database it lives in."""
        rows = AIOperation.objects.order_by("-created_at")
        return rows.select_related("user") if users_are_near() else rows

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AIOperation], search_term: str
    ) -> tuple[QuerySet[AIOperation], bool]:
        """Look for an operation's id, user, prompt's hash or scope, whichever is there.

        One after the other, because all in one question is more than databases find indexes for.
        """
        term, rows = search_term.strip(), AIOperation.objects.order_by()
        if not term:
            return queryset, False
        found: Any = queryset  # the ledger's own, which the stubs do not know here
        of_scope = found.filter(scope=term)
        others = []
        if _HASH.fullmatch(term) and rows.of_prompt(term).exists():
            others.append(found.of_prompt(term))
        if (user := key_of(term)) is not None and rows.filter(user_id=user).exists():
            others.append(found.filter(user_id=user))
        with suppress(ValueError):
            key = UUID(term)
            if rows.filter(pk=key).exists():
                others.append(found.filter(pk=key))
        if not others:
            return of_scope, False
        if rows.filter(scope=term).exists():  # a tenant may be named like that, too
            others.append(of_scope)
        return reduce(or_, others), False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return all fields, the user as in the list, and where its texts are, if anywhere."""
        names = [field.name for field in AIOperation._meta.fields]
        names.insert(names.index("cost_usd") + 1, "explanation")
        may_look = request.user.has_perm("django_obc_ai.view_storedcontent")
        if may_look and obj is not None and StoredContent.objects.filter(pk=obj.pk).exists():
            names.append("texts")
        return ["caller" if name == "user" else name for name in names]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return all fields."""
        return self.get_fields(request, obj)


def _dashboard(name: str, request: HttpRequest, /, **options: Any) -> HttpResponseBase:
    """Answer with a view of the dashboard; what it reads with is imported when it is opened."""
    from django_obc_ai.admin import dashboard

    view: Callable[..., HttpResponseBase] = getattr(dashboard, name)
    return view(request, **options)
