"""The admin of stored prompts and answers, for people who may read them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join

from django_obc_ai.admin.dashboard_links import find_page
from django_obc_ai.admin.people import name_of, users_are_near
from django_obc_ai.admin.reading import NotesReaders
from django_obc_ai.admin.readonly import ReadOnly
from django_obc_ai.models import StoredContent

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[StoredContent]  # generic in the stubs only
else:
    ModelAdmin = admin.ModelAdmin

_TEXT = '<div class="ai-said">{}</div>'


@admin.register(StoredContent)
class StoredContentAdmin(ReadOnly, NotesReaders, ModelAdmin):
    """Look at stored texts; `purge_content` and `erase_user` delete them."""

    read_permission = "django_obc_ai.read_content"
    list_display = ("pk", "caller", "created_at")
    list_filter = ("created_at",)
    search_fields = ("user__exact",)
    search_help_text = "Exact id of an operation or of a user"
    date_hierarchy = "created_at"
    show_full_result_count = False

    class Media:
        css = {"all": ("django_obc_ai/operators.css",)}

    @admin.display(description="User", ordering="user_id")
    def caller(self, content: StoredContent) -> str:
        """Return whose operation it was."""
        return name_of(content, "user")

    @admin.display(description="Operation")
    def of_operation(self, content: StoredContent) -> str:
        """Return a link to the operation."""
        url = find_page(self.admin_site.name, "aioperation", content.pk)
        return format_html('<a href="{}">{}</a>', url, content.pk) if url else str(content.pk)

    @admin.display(description="System instruction")
    def system_text(self, content: StoredContent) -> str:
        """Return it as plain text."""
        return format_html(_TEXT, content.system)

    @admin.display(description="Earlier turns")
    def turns(self, content: StoredContent) -> str:
        """Return who said what, as plain text."""
        said = ((each.get("role"), each.get("text")) for each in content.history)
        return format_html_join("", '<p class="ai-said"><b>{}</b><br>{}</p>', said)

    @admin.display(description="Prompt")
    def prompt_text(self, content: StoredContent) -> str:
        """Return it as plain text."""
        return format_html(_TEXT, content.prompt)

    @admin.display(description="Answer")
    def answer_text(self, content: StoredContent) -> str:
        """Return it as plain text."""
        return format_html(_TEXT, content.answer)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredContent]:
        """Return the rows of the database they live in; a list reads no texts."""
        rows = StoredContent.objects.order_by("-created_at")
        rows = rows.defer("system", "prompt", "history", "answer")
        return rows.select_related("user") if users_are_near() else rows

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[StoredContent], search_term: str
    ) -> tuple[QuerySet[StoredContent], bool]:
        """Look for an operation or a user; nobody searches what was said."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = queryset.none()
        with suppress(ValueError):
            found |= queryset.filter(pk=UUID(term))
        with suppress(ValueError, ValidationError):  # keys of users may be of any kind
            found |= queryset.filter(user_id=term)
        return found, False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return what the permission to view shows, and with that to read, the texts."""
        fields = ["of_operation", "caller", "created_at"]
        texts = ["system_text", "turns", "prompt_text", "answer_text"]
        return [*fields, *texts] if self.may_read(request) else fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return all fields."""
        return self.get_fields(request, obj)
