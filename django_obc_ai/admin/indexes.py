"""The admin of search indexes: how they are, and the work that operators ask for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from django_obc_ai.admin import audit
from django_obc_ai.admin.readonly import ReadOnly
from django_obc_ai.exceptions import ConfigurationError, ObcAIError, UnknownIndexError
from django_obc_ai.models import IndexRequest, IndexState
from django_obc_ai.services import index_requests
from django_obc_ai.services.index_requests import AT_ONCE, IndexStatus
from django_obc_ai.services.tasks import has_workers

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[IndexState]  # generic in the stubs only
else:
    ModelAdmin = admin.ModelAdmin

_SWEEP, _REBUILD, _WITHDRAW = "sweep", "rebuild", "withdraw"
_PERMISSIONS = {
    _SWEEP: "django_obc_ai.change_indexstate",
    _REBUILD: "django_obc_ai.rebuild_index",
    _WITHDRAW: "django_obc_ai.change_indexstate",
}
_LIST = "django_obc_ai_indexstate_changelist"


@admin.register(IndexState)
class IndexStateAdmin(ReadOnly, ModelAdmin):
    """Look at every registered index, have it brought up to date or built anew."""

    def get_urls(self) -> list[Any]:
        """Return the list and the actions; a row of the table says nothing by itself."""
        guarded = self.admin_site.admin_view
        urls: list[Any] = [path("", guarded(self.changelist_view), name=_LIST)]
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

    def action_view(self, request: HttpRequest, name: str, action: str) -> HttpResponse:
        """Ask whether that is meant; do it on POST."""
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
    if has_workers():
        return "A worker"
    return "The next run of “manage.py ai_index --requested”"


def _facts(status: IndexStatus, action: str) -> list[str]:
    """Return what somebody should know before saying yes."""
    if action == _WITHDRAW:
        return [f"Requested: {status.request.get_kind_display()}."] if status.request else []
    rows = status.work_of(action)
    facts = [
        f"{rows:,} changed rows wait."
        if action == _SWEEP
        else f"{rows:,} rows are read into a new build; the present one serves until it is done."
    ]
    if status.is_paid:
        usd = index_requests.estimate_usd(status.name, rows)
        cost = "an amount that is not known, as its model has no price" if usd is None else ""
        facts.append(
            f"The embedder is paid for. This costs about {cost or f'${usd:.4f}'} if every text is"
            " embedded; texts that have not changed are not. Budgets hold as for any call."
        )
    else:
        facts.append("The embedder costs nothing.")
    facts.append(
        "It is done at once, while you wait."
        if rows <= AT_ONCE
        else f"That is more than the {AT_ONCE} rows that are done at once, so it is written down."
        f" {_whoever()} does it."
    )
    return facts
