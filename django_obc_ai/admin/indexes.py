"""The admin of search indexes: how they are, and the work that operators ask for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import path, reverse

from django_obc_ai.admin import audit
from django_obc_ai.admin.readonly import ReadOnly
from django_obc_ai.exceptions import ConfigurationError, ObcAIError, UnknownIndexError
from django_obc_ai.indexes import get_index
from django_obc_ai.models import IndexRequest, IndexState

# The services of indexing are imported where they are needed: with them comes all that makes calls,
# which a process that only starts has no use for.
if TYPE_CHECKING:
    from django_obc_ai.services.index_requests import IndexStatus

    ModelAdmin = admin.ModelAdmin[IndexState]  # generic in the stubs only
else:
    ModelAdmin = admin.ModelAdmin

_SWEEP, _REBUILD, _WITHDRAW = "sweep", "rebuild", "withdraw"
_PERMISSIONS = {
    _SWEEP: "django_obc_ai.change_indexstate",
    _REBUILD: "django_obc_ai.rebuild_index",
    _WITHDRAW: "django_obc_ai.change_indexstate",
}
_FAILURES_A_PAGE = 100
_LIST = "django_obc_ai_indexstate_changelist"


@admin.register(IndexState)
class IndexStateAdmin(ReadOnly, ModelAdmin):
    """Look at every registered index, have it brought up to date or built anew."""

    def get_urls(self) -> list[Any]:
        """Return the list and the actions; a row of the table says nothing by itself."""
        guarded = self.admin_site.admin_view
        urls: list[Any] = [path("", guarded(self.changelist_view), name=_LIST)]
        for page, shown in (("change", self.detail_view), ("retry", self.retry_view)):
            pattern, view_name = f"<path:name>/{page}/", f"django_obc_ai_indexstate_{page}"
            urls.append(path(pattern, guarded(shown), name=view_name))
        for action in _PERMISSIONS:
            view = guarded(partial(self.action_view, action=action))
            urls.append(
                path(f"<path:name>/{action}/", view, name=f"django_obc_ai_indexstate_{action}")
            )
        return urls

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the state of each index."""
        from django_obc_ai.services import index_requests

        if not self.has_view_permission(request):
            raise PermissionDenied
        may = {action: request.user.has_perm(name) for action, name in _PERMISSIONS.items()}
        request.current_app = self.admin_site.name  # for links
        context = {
            **self.admin_site.each_context(request),
            "title": "Search indexes",
            "opts": self.opts,
            "indexes": index_requests.read_statuses(),
            "may": may,
            "history": audit.latest(IndexState),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/django_obc_ai/indexes.html", context)

    def detail_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Show the figures of one index, and what could not be indexed."""
        from django_obc_ai.services import index_failures
        from django_obc_ai.services._index_facts import facts_of
        from django_obc_ai.services.index_stats import index_stats

        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        name = unquote(name)
        try:
            stats, failed = index_stats(name), index_failures.read_failures(name)
        except UnknownIndexError as error:
            raise Http404(str(error)) from error
        page = Paginator(failed, _FAILURES_A_PAGE).get_page(request.GET.get("p"))
        link_to = self._linker(request, name)
        request.current_app = self.admin_site.name  # for links
        context = {
            **self.admin_site.each_context(request),
            "title": f"The index {name}",
            "opts": self.opts,
            "stats": stats,
            "facts": facts_of(stats),
            "failures": page,
            "failed": [(each, link_to(each.object_key)) for each in page],
            "history": audit.latest(IndexState, key=name),
            "cost": "" if stats.fault or not page else _cost(name, page.paginator.count),
            "asked": IndexRequest.objects.filter(pk=name).first(),
            "may": {action: request.user.has_perm(each) for action, each in _PERMISSIONS.items()},
            "whoever": _whoever(),
            "back": reverse(f"{self.admin_site.name}:{_LIST}"),
        }
        return TemplateResponse(request, "admin/django_obc_ai/index_detail.html", context)

    def retry_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Have objects that could not be indexed tried again: those that are ticked, or all."""
        from django_obc_ai.services import index_failures

        may_view = self.has_view_permission(request)
        if not (may_view and request.user.has_perm(_PERMISSIONS[_REBUILD])):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        name = unquote(name)
        keys = (
            None
            if "all" in request.POST
            else [key for key in request.POST.getlist("key") if "\x00" not in key]
        )
        try:
            count = index_failures.retry_failures(name, keys)
        except UnknownIndexError as error:
            raise Http404(str(error)) from error
        if count:
            text = f"Had {count:,} failed objects tried again."
            audit.note(request, IndexState, name, text, key=name)
            text += f" {index_failures.read_failures(name).count():,} failures are left now."
            self.message_user(request, f"The index {name}: {text}")
        else:
            text = f"The index {name}: nothing was ticked that had failed."
            self.message_user(request, text, messages.WARNING)
        page = f"{self.admin_site.name}:django_obc_ai_indexstate_change"
        return HttpResponseRedirect(reverse(page, args=[quote(name)]))

    def _linker(self, request: HttpRequest, name: str) -> Callable[[str], str]:
        """Return a function from an object's key to its page; "" where this user has none."""
        model = get_index(name).model
        options = model._meta
        may = request.user.has_perm(f"{options.app_label}.view_{options.model_name}")
        if not (may and self.admin_site.is_registered(model)):
            return lambda key: ""
        page = f"{self.admin_site.name}:{options.app_label}_{options.model_name}_change"
        return lambda key: reverse(page, args=[quote(key)])

    def action_view(self, request: HttpRequest, name: str, action: str) -> HttpResponse:
        """Ask whether that is meant; do it on POST."""
        from django_obc_ai.services import index_requests

        may_view = self.has_view_permission(request)
        if not (may_view and request.user.has_perm(_PERMISSIONS[action])):
            raise PermissionDenied
        try:
            status = index_requests.read_status(name)
        except UnknownIndexError as error:
            raise Http404(str(error)) from error
        back = reverse(f"{self.admin_site.name}:{_LIST}")
        if request.method == "POST":
            self._act(request, status, action)
            return HttpResponseRedirect(back)
        request.current_app = self.admin_site.name  # for links
        context = {
            **self.admin_site.each_context(request),
            "title": _TITLES[action].format(name=name),
            "opts": self.opts,
            "facts": _facts(status, action),
            "button": _BUTTONS[action],
            "back": back,
        }
        return TemplateResponse(request, "admin/django_obc_ai/confirm.html", context)

    def _act(self, request: HttpRequest, status: IndexStatus, action: str) -> None:
        from django_obc_ai.services import index_requests

        name = status.name
        if action == _WITHDRAW:
            was_there = index_requests.withdraw_request(name)
            text = "Withdrew the request." if was_there else "There was no request to withdraw."
        else:
            try:
                report = index_requests.request_indexing(name, action, user=request.user)
            except Exception as error:
                audit.note(request, IndexState, name, f"Tried: {action}; it failed.", key=name)
                if not isinstance(error, (ObcAIError, ConfigurationError)):
                    raise  # it may have cost something before it broke, so it is in the history
                self.message_user(request, f"The index {name}: {error}", messages.ERROR)
                return
            what = IndexRequest.Kind(action).label
            if report is None:
                text = f"Requested: {what}. {_whoever()} does it."
            else:
                text = f"Done: {what}. {report.seen} rows, {report.embedded} texts embedded."
                if report.failed:
                    text += f" {len(report.failed)} rows have no readable text; they wait on."
        audit.note(request, IndexState, name, text, key=name)
        self.message_user(request, f"The index {name}: {text}")


_TITLES = {
    _SWEEP: "Index what waits in {name}?",
    _REBUILD: "Rebuild {name}?",
    _WITHDRAW: "Withdraw what was requested for {name}?",
}
_BUTTONS = {_SWEEP: "Index what waits", _REBUILD: "Rebuild", _WITHDRAW: "Withdraw"}


def _whoever() -> str:
    from django_obc_ai.services.tasks import has_workers

    if has_workers():
        return "A worker"
    return "The next run of “manage.py ai_index --requested”"


def _cost(name: str, rows: int) -> str:
    """Return what it costs to embed so many rows of an index."""
    from django_obc_ai.services import index_requests

    usd = index_requests.estimate_usd(name, rows)
    if usd == 0:
        return "The embedder costs nothing."
    cost = (
        "an amount that is not known, as its model has no price" if usd is None else f"${usd:.4f}"
    )
    return (
        f"The embedder is paid for. This costs about {cost} if every text is"
        " embedded; texts that have not changed are not. Budgets hold as for any call."
    )


def _facts(status: IndexStatus, action: str) -> list[str]:
    """Return what somebody should know before saying yes."""
    from django_obc_ai.services.index_requests import AT_ONCE

    if action == _WITHDRAW:
        return [f"Requested: {status.request.get_kind_display()}."] if status.request else []
    rows = status.work_of(action)
    facts = [
        f"{rows:,} changed rows wait."
        if action == _SWEEP
        else f"{rows:,} rows are read into a new build; the present one serves until it is done."
    ]
    facts.append(_cost(status.name, rows))
    facts.append(
        "It is done at once, while you wait."
        if rows <= AT_ONCE
        else f"That is more than the {AT_ONCE} rows that are done at once, so it is written down."
        f" {_whoever()} does it."
    )
    return facts
