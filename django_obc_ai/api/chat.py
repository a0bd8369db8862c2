"""Questions about a project's data, answered at once or in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from django_obc_ai.api.answers import Answer, Question
from django_obc_ai.api.base import Renderer, View
from django_obc_ai.api.schema import described
from django_obc_ai.models import Conversation
from django_obc_ai.services.web_chat import WebChatService
from django_obc_ai.types.chat import ChatAnswer
from django_obc_ai.web.asking import open_conversation
from django_obc_ai.web.event_stream import tell_turn, write_event


class ChatView(View):
    """Answer a question."""

    @described("ask", answer=Answer, body=Question, errors=[404])
    def post(self, request: Request) -> Response:
        """Answer a question about the project's data, with the asking user's own rights."""
        asked = Question(data=request.data)
        asked.is_valid(raise_exception=True)
        conversation = open_conversation(request, asked.validated_data.get("conversation"))
        message = asked.validated_data["message"]
        answer = WebChatService().send(message, user=request.user, conversation=conversation)
        return Response(Answer(answer).data)


class EventStreamRenderer(BaseRenderer):
    """Lets clients accept event streams; the view writes them itself."""

    media_type = "text/event-stream"
    format = "event-stream"


class JSONTeller:
    """Events with data for programs: "conversation", "text" and "answer"."""

    def begin(self, conversation: Conversation) -> Iterator[bytes]:
        """See `Teller`."""
        yield write_event("conversation", {"conversation": str(conversation.pk)})

    def piece(self, text: str) -> Iterator[bytes]:
        """See `Teller`."""
        yield write_event("text", {"text": text})

    def end(self, answer: ChatAnswer) -> Iterator[bytes]:
        """See `Teller`."""
        yield write_event("answer", Answer(answer).data)


class StreamEvent(serializers.Serializer[Any]):
    """One event of a stream."""

    event = serializers.ChoiceField(choices=("conversation", "text", "answer", "error"))

    def get_fields(self) -> dict[str, Any]:
        """Return the fields; one has the name of a property."""
        told = "An object, as JSON in one line."
        return {**super().get_fields(), "data": serializers.CharField(help_text=told)}


class ChatStreamView(View):
    """Answer a question in pieces."""

    renderer_classes = (EventStreamRenderer, Renderer)

    @described(
        "ask_in_pieces",
        answer=StreamEvent,
        media_type="text/event-stream",
        body=Question,
        errors=[404],
    )
    def post(self, request: Request) -> StreamingHttpResponse:
        """Answer a question in a stream of events: conversation, text …, answer or error."""
        asked = Question(data=request.data)
        asked.is_valid(raise_exception=True)
        return tell_turn(
            request._request,
            WebChatService(),
            asked.validated_data["message"],
            user=request.user,
            conversation=open_conversation(request, asked.validated_data.get("conversation")),
            teller=JSONTeller(),
        )
