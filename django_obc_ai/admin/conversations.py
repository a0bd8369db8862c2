"""The admin of conversations: who talks how much; what they said, for those who may read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join

from django_obc_ai.admin.people import name_of, users_are_near
from django_obc_ai.admin.reading import NotesReaders
from django_obc_ai.models import ChatMessage, Conversation

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Conversation]  # generic in the stubs only
else:
    ModelAdmin = admin.ModelAdmin

READ = "django_obc_ai.read_conversation"


@admin.register(Conversation)
class ConversationAdmin(NotesReaders, ModelAdmin):
    """Look at conversations, and delete them; nobody adds or edits one here."""

    read_permission = READ
    list_display = ("id", "caller", "scope", "message_count", "created_at", "updated_at")
    list_filter = ("updated_at",)
    search_fields = ("id__exact", "scope__exact")
    search_help_text = "Exact key or scope"
    date_hierarchy = "updated_at"
    show_full_result_count = False

    class Media:
        css = {"all": ("django_obc_ai/operators.css",)}

    @admin.display(description="User", ordering="user_id")
    def caller(self, conversation: Conversation) -> str:
        """Return who it belongs to."""
        return name_of(conversation, "user")

    @admin.display(description="Messages", ordering="message_count")
    def message_count(self, conversation: Any) -> int:
        """Return how many questions and answers there are."""
        count: int = conversation.message_count
        return count

    @admin.display(description="Messages")
    def transcript(self, conversation: Conversation) -> str:
        """Return everything that was said, as plain text."""
        rows = ChatMessage.objects.filter(conversation=conversation)
        said = (
            (each.created_at.strftime("%Y-%m-%d %H:%M:%S"), each.role, _marks(each), each.text)
            for each in rows
        )
        return format_html_join("", '<p class="ai-said">{} <b>{}</b>{}<br>{}</p>', said)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        """Return conversations from the database they live in."""
        rows = Conversation.objects.order_by("-updated_at").annotate(
            message_count=Count("messages")
        )
        return rows.select_related("user") if users_are_near() else rows

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return what the permission to view shows, and with that to read, what was said."""
        fields = ["id", "caller", "scope", "created_at", "updated_at"]
        return [*fields, "title", "summary", "transcript"] if self.may_read(request) else fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return all fields."""
        return self.get_fields(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Count the messages that go with a conversation; deleting it is deleting them."""
        conversations = [str(each) for each in objs]
        count = ChatMessage.objects.filter(conversation__in=list(objs)).count()
        names = {
            Conversation._meta.verbose_name_plural: len(conversations),
            ChatMessage._meta.verbose_name_plural: count,
        }
        return conversations, names, set(), []


def _marks(message: ChatMessage) -> str:
    marks = [
        mark
        for mark, is_set in (
            ("refused", message.is_refused),
            ("offline", message.is_offline),
            (message.error, bool(message.error)),
        )
        if is_set
    ]
    return f" ({', '.join(marks)})" if marks else ""
