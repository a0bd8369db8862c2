"""Whose an answer is."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django_obc_ai.models import ChatMessage
from django_obc_ai.services.conversations import unknown_conversation
from django_obc_ai.web.asking import open_conversation


def open_answer(request: Any, key: UUID) -> ChatMessage:
    """Return an answer in a conversation that this request may open.

    The services would give the answers of people who did not log in to whoever knows the key;
    here the session must have begun the conversation.

    Raises:
        UnknownConversationError: There is none, or it is somebody else's.
    """
    found = ChatMessage.objects.filter(key=key, role=ChatMessage.Role.ASSISTANT).first()
    if found is None:
        raise unknown_conversation()
    open_conversation(request, found.conversation_id)
    return found
