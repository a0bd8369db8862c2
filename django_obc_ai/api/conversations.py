"""One's own conversations: listed, read, deleted."""

from __future__ import annotations

from typing import Any

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from django_obc_ai.api.answers import Before, ConversationDetail, ConversationItem
from django_obc_ai.api.base import View
from django_obc_ai.api.pages import Page, PageQuery, page_of, read_query
from django_obc_ai.api.schema import described
from django_obc_ai.models import Conversation
from django_obc_ai.services.conversations import (
    delete_conversation,
    key_of,
    list_conversations,
    unknown_conversation,
)
from django_obc_ai.web.asking import open_conversation

_MOST_MESSAGES = 100


class ConversationPage(Page):
    """One page of one's own conversations, the last one first."""

    results = ConversationItem(many=True)


class ConversationsView(View):
    """One's own conversations."""

    @described("list_conversations", answer=ConversationPage, query=PageQuery, errors=[404])
    def get(self, request: Request) -> Response:
        """List one's own conversations; people who did not log in have no list."""
        rows = list_conversations(user=request.user).order_by("-updated_at", "pk")
        return page_of(request, rows, ConversationItem)


class ConversationView(View):
    """One conversation."""

    @described("read_conversation", answer=ConversationDetail, query=Before, has_key=True)
    def get(self, request: Request, key: str) -> Response:
        """Read one of one's own conversations: its last 100 messages, or those before one."""
        before = read_query(request, Before).get("before")
        conversation = open_conversation(request, key_of(key))
        messages, is_cut = _read(conversation, before)
        body = {
            **{name: getattr(conversation, name) for name in ("id", "title")},
            **{name: getattr(conversation, name) for name in ("created_at", "updated_at")},
            "messages": messages,
            "is_cut": is_cut,
        }
        return Response(ConversationDetail(body).data)

    @described("delete_conversation", answer=None, status=204, has_key=True)
    def delete(self, request: Request, key: str) -> Response:
        """Delete one of one's own conversations, with its messages."""
        conversation = open_conversation(request, key_of(key))
        delete_conversation(conversation, user=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _read(conversation: Conversation, before: Any) -> tuple[list[Any], bool]:
    rows = conversation.messages.all()
    if before is not None:
        first = rows.filter(key=before).values_list("pk", flat=True).first()
        if first is None:
            raise unknown_conversation()
        rows = rows.filter(pk__lt=first)
    found = list(rows.order_by("-pk")[: _MOST_MESSAGES + 1])
    return found[:_MOST_MESSAGES][::-1], len(found) > _MOST_MESSAGES
