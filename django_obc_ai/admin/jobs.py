"""The admin of jobs: how each stands, what it asks for those who may read it, retry and cancel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from django_obc_ai.admin._job_actions import ACTIONS, JobAction
from django_obc_ai.admin.dashboard_links import find_page
from django_obc_ai.admin.large_lists import (
    MOST_VALUES,
    BoundedPaginator,
    LargeChangeList,
    ValuesInUseFilter,
)
from django_obc_ai.admin.people import name_of, users_are_near
from django_obc_ai.admin.reading import NotesReaders
from django_obc_ai.admin.readonly import ReadOnly
from django_obc_ai.exceptions import ConfigurationError, ObcAIError
from django_obc_ai.models import Job
from django_obc_ai.services._ages import age

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Job]  # generic in the stubs only
else:
    ModelAdmin = admin.ModelAdmin

#: Jobs that one request acts on: each has a row to change, and an entry in the history.
AT_ONCE = 500
_MANAGE = "django_obc_ai.manage_jobs"
_FIELDS = (
    "id", "status", "when", "priority", "caller", "scope", "module", "operation_type", "provider",
    "of_operation", "attempts", "error_category", "error_message", "created_at", "due_at",
    "deadline_at", "started_at", "finished_at", "expires_at", "owner", "lease_until",
)  # fmt: skip


class FailureFilter(ValuesInUseFilter):
    """A filter by why jobs failed; failed ones have an index of their own."""

    def values(self, name: str) -> list[str]:
        """Return the categories of the failures that are kept."""
        failed: Any = Job.objects.filter(status=Job.Status.FAILED)
        found: list[str] = failed.values_in_use(name, most=MOST_VALUES)
        return found

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Say that it is about failures."""
        rows: Any = super().queryset(request, queryset)
        return rows.filter(status=Job.Status.FAILED) if any(self.lookup_val or []) else rows


@admin.register(Job)
class JobAdmin(ReadOnly, NotesReaders, ModelAdmin):
    """Look at jobs; who may manage them tries failed ones again, and cancels others."""

    read_permission = "django_obc_ai.read_content"
    list_display = (
        "created_at",
        "status",
        "when",
        "priority",
        "provider",
        "module",
        "caller",
        "attempts",
        "error_category",
    )
    list_filter = (
        "created_at",
        "status",
        ("provider", ValuesInUseFilter),
        ("module", ValuesInUseFilter),
        ("error_category", FailureFilter),
    )
    search_fields = ("id__exact", "scope__exact", "user__exact")
    search_help_text = "Exact key of a job, scope or id of a user"
    date_hierarchy = "created_at"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would be counted over all rows
    list_per_page = 50
    paginator = BoundedPaginator
    actions = ("retry_jobs", "cancel_jobs")

    class Media:
        css = {"all": ("django_obc_ai/operators.css",)}

    def get_urls(self) -> list[Any]:
        """Add the pages that ask whether an action is meant."""
        guarded = self.admin_site.admin_view
        mine = [
            path(
                f"<path:object_id>/{name}/",
                guarded(partial(self.action_view, name=name)),
                name=f"django_obc_ai_job_{name}",
            )
            for name in ACTIONS
        ]
        return [*mine, *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LargeChangeList]:
        """Return a list that reads a bounded number of rows."""
        return LargeChangeList

    # --- what is shown ---------------------------------------------------------------------------
    @admin.display(description="User", ordering="user_id")
    def caller(self, job: Job) -> str:
        """Return the user's name, or only the key where users live in another database."""
        return name_of(job, "user")

    @admin.display(description="Since")
    def when(self, job: Job) -> str:
        """Return for how long it has waited or run, or how long ago it ended."""
        return format_html('<span class="ai-one-line">{}</span>', _told(job))

    @admin.display(description="Operation")
    def of_operation(self, job: Job) -> str:
        """Return a link to the operation of the last attempt."""
        if job.operation_id is None:
            return "-"
        url = find_page(self.admin_site.name, "aioperation", job.operation_id)
        return format_html('<a href="{}">{}</a>', url, job.operation_id) if url else "-"

    @admin.display(description="Request")
    def request_text(self, job: Job) -> str:
        """Return what is asked, as plain text; nothing once it is answered."""
        return _said(job.request)

    @admin.display(description="Result")
    def result_text(self, job: Job) -> str:
        """Return what was answered, as plain text."""
        return _said(job.result or {})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Return the jobs of the database they live in; a list reads no texts."""
        rows = Job.objects.order_by("-created_at").defer("request", "result")
        return rows.select_related("user") if users_are_near() else rows

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """Look for a job's key, a scope or a user, whichever is there; nobody searches words."""
        term = search_term.strip()
        if not term:
            return queryset, False
        with suppress(ValueError):
            key = UUID(term)
            if Job.objects.filter(pk=key).exists():
                return queryset.filter(pk=key), False
        if Job.objects.filter(scope=term).exists():
            return queryset.filter(scope=term), False
        with suppress(ValueError, ValidationError):  # keys of users may be of any kind
            return queryset.filter(user_id=term), False
        return queryset.none(), False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return what the permission to view shows, and with that to read, the texts."""
        texts = ["request_text", "result_text"] if self.may_read(request) else []
        return [*_FIELDS, *texts]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return all fields."""
        return self.get_fields(request, obj)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer what can be done with the job."""
        job: Any = kwargs.get("obj")
        may = job is not None and self.has_manage_permission(request)
        fitting = [each for each in ACTIONS.values() if may and job.status in each.fits]
        context["offered"] = [(each.name, each.label) for each in fitting]
        return super().render_change_form(request, context, *args, **kwargs)

    # --- what is done ----------------------------------------------------------------------------
    def has_manage_permission(self, request: HttpRequest) -> bool:
        """Return whether this person may retry and cancel."""
        return self.has_view_permission(request) and request.user.has_perm(_MANAGE)

    @admin.action(description="Retry failed jobs", permissions=["manage"])
    def retry_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Have the failed ones of the chosen jobs asked again."""
        self._act_on_many(request, queryset, ACTIONS["retry"])

    @admin.action(description="Cancel jobs that have not ended", permissions=["manage"])
    def cancel_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Cancel those of the chosen jobs that have not ended."""
        self._act_on_many(request, queryset, ACTIONS["cancel"])

    def action_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Ask whether that is meant; do it on POST."""
        if not self.has_manage_permission(request):
            raise PermissionDenied
        job, action = self.get_object(request, object_id), ACTIONS[name]
        if job is None:
            raise Http404("There is no such job.")
        back = reverse(f"{self.admin_site.name}:django_obc_ai_job_change", args=[job.pk])
        if request.method == "POST":
            self._act(request, [job], action, passed_over=0)
            return HttpResponseRedirect(back)
        request.current_app = self.admin_site.name  # for links
        is_fitting = job.status in action.fits
        context = {
            **self.admin_site.each_context(request),
            "title": action.question,
            "opts": self.opts,
            "facts": [f"It is {job.status}.", action.fact if is_fitting else action.refusal],
            "button": action.label if is_fitting else "",
            "back": back,
        }
        return TemplateResponse(request, "admin/django_obc_ai/confirm.html", context)

    def _act_on_many(self, request: HttpRequest, chosen: Any, action: JobAction) -> None:
        fitting = chosen.filter(status__in=action.fits)
        jobs = list(fitting[: AT_ONCE + 1])
        if len(jobs) > AT_ONCE:
            text = f"At most {AT_ONCE} jobs are done at once. Choose the others again."
            self.message_user(request, text, messages.WARNING)
        # Whoever chose all rows of a long list need not wait until they are counted.
        seen = len(chosen[: AT_ONCE + 1])
        self._act(request, jobs[:AT_ONCE], action, passed_over=max(0, seen - len(jobs)))

    def _act(
        self, request: HttpRequest, jobs: Iterable[Job], action: JobAction, *, passed_over: int
    ) -> None:
        done = 0
        for job in jobs:
            try:
                is_done = action.run(job.pk)
            except (ObcAIError, ConfigurationError) as error:
                self.log_change(request, job, f"Tried: {action.label.lower()}; it failed.")
                self.message_user(request, f"{action.label}: {error}", messages.ERROR)
                break
            if is_done:
                self.log_change(request, job, f"{action.done}.")
                done += 1
            else:
                passed_over += 1
        if done:
            self.message_user(request, f"{action.done}: {done} job{'' if done == 1 else 's'}.")
        if passed_over:
            text = f"{passed_over} left as {'it was' if passed_over == 1 else 'they were'}:"
            self.message_user(request, f"{text} {action.refusal}", messages.WARNING)


def _told(job: Job) -> str:
    now = timezone.now()
    if job.status == Job.Status.QUEUED:
        waits = f"waits for {age((now - job.created_at).total_seconds())}"
        later = (job.due_at - now).total_seconds()
        return f"{waits}, due in {age(later)}" if later > 0 else waits
    if job.status == Job.Status.RUNNING and job.started_at is not None:
        return f"runs for {age((now - job.started_at).total_seconds())}"
    if job.finished_at is None:
        return "-"
    return f"ended {age((now - job.finished_at).total_seconds())} ago"


def _said(parts: Mapping[str, Any]) -> str:
    told = (
        (name.replace("_", " "), value if isinstance(value, str) else _json(value))
        for name, value in parts.items()
        if value not in (None, "", [], {})
    )
    shown = format_html_join("", '<p class="ai-said"><b>{}</b><br>{}</p>', told)
    return shown or "-"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
