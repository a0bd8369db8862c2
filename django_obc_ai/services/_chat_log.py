"""The conversation that a turn belongs to: found, or begun, and what is stored of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from django_obc_ai.chat.citations import to_json
from django_obc_ai.chat.plan import as_mapping
from django_obc_ai.conf import get_settings
from django_obc_ai.logs import events
from django_obc_ai.models import ChatMessage, Conversation
from django_obc_ai.models.chat import TITLE_LENGTH
from django_obc_ai.models.connections import persist
from django_obc_ai.services.conversations import (
    get_conversation,
    key_of,
    owned_by,
    start_conversation,
    unknown_conversation,
)
from django_obc_ai.services.text import scope_of
from django_obc_ai.types.chat import ChatAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatLog:
    """Where one question, which is stored already, and its answer are kept."""

    user: Any
    scope: str
    conversation: Conversation
    question: ChatMessage

    def store(self, answer: ChatAnswer) -> ChatAnswer:
        """Store an answer and return it with its key.

        An answer that the database does not take is delivered all the same, since it may
        have been paid for; the log says so.
        """
        row = ChatMessage(
            conversation=self.conversation,
            role=ChatMessage.Role.ASSISTANT,
            text=answer.text,
            plan=None if answer.plan is None else as_mapping(answer.plan),
            citations=to_json(answer.citations),
            operation_ids=[str(each) for each in answer.operation_ids],
            is_refused=answer.is_refused,
            is_offline=answer.is_offline,
            error=(answer.error or "")[:50],
            found_by=answer.found_by,
            warnings=list(answer.warnings),
        )
        alias = get_settings().database
        try:
            persist(alias, lambda: self._save(row))
        except (DatabaseError, InterfaceError) as error:
            events.CHAT_ANSWER_NOT_STORED.log(error=error, conversation=self.conversation.pk)
            return answer
        return replace(answer, message_id=row.key)

    def _save(self, row: ChatMessage) -> None:
        row.save(using=get_settings().database)
        if row.is_refused:
            ChatMessage.objects.filter(pk=self.question.pk).update(is_refused=True)


def open_log(message: str, *, user: Any, conversation: Any) -> ChatLog:
    """Store a question in a conversation, or in a new one.

    Args:
        message: As it was asked; more of it than may be asked is not kept.
        user: Who asks; a user, an AnonymousUser or None.
        conversation: A `Conversation`, its key, or None for a new one.

    Raises:
        UnknownConversationError: There is none of that key, it is another user's, or it
            belongs to another tenant; the error does not say which.
    """
    text = message[: get_settings().chat.max_message_characters].replace("\0", "")
    text = text.encode(errors="replace").decode()  # half a character is stored nowhere
    if conversation is None:
        found = start_conversation(user=user)
    else:
        found = get_conversation(conversation, user=user)
    found.title = found.title or " ".join(text.split())[:TITLE_LENGTH]
    found.updated_at = timezone.now()
    found.save(update_fields=["title", "updated_at"])
    question = ChatMessage.objects.create(conversation=found, role=ChatMessage.Role.USER, text=text)
    return ChatLog(user=user, scope=found.scope, conversation=found, question=question)


def find_answer(message_id: Any, *, user: Any) -> ChatMessage:
    """Return an answer in one of this user's conversations.

    Raises:
        UnknownConversationError: There is none.
    """
    owned = {f"conversation__{name}": value for name, value in owned_by(user).items()}
    rows = ChatMessage.objects.filter(
        role=ChatMessage.Role.ASSISTANT, conversation__scope=scope_of(user), **owned
    )
    found = rows.filter(key=key_of(message_id)).first()
    if found is None:
        raise unknown_conversation()
    return found
