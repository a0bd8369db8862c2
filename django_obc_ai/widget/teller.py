"""The events of a turn as HTML that is ready to be shown."""

from __future__ import annotations

from collections.abc import Iterator

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone, translation

from django_obc_ai.models import Conversation
from django_obc_ai.types.chat import ChatAnswer
from django_obc_ai.web.event_stream import write_event
from django_obc_ai.widget.addresses import Addresses
from django_obc_ai.widget.history import show_answer
from django_obc_ai.widget.markdown import GrowingMarkdown


class HTMLTeller:
    """Events for the page: "conversation", "block" for each block that changed, and "answer".

    Language and time zone are those of the request; what is active when an answer ends may be
    another's.
    """

    def __init__(self, request: HttpRequest) -> None:
        """Take what is needed of the request while it is handled."""
        self._request = request
        self._addresses = Addresses(request)
        self._language = translation.get_language()
        self._zone = timezone.get_current_timezone()
        self._growing = GrowingMarkdown()

    def begin(self, conversation: Conversation) -> Iterator[bytes]:
        """See `Teller`."""
        url = self._addresses.conversation(conversation.pk)
        key = str(conversation.pk) if self._addresses.can_go_on else ""
        told = {"conversation": key, "url": url}
        yield write_event("conversation", told)

    def piece(self, text: str) -> Iterator[bytes]:
        """See `Teller`."""
        with translation.override(self._language):
            blocks = list(self._growing.feed(text))
        for number, html in blocks:
            yield write_event("block", {"number": number, "html": html})

    def end(self, answer: ChatAnswer) -> Iterator[bytes]:
        """See `Teller`."""
        with translation.override(self._language), timezone.override(self._zone):
            user = self._request.user
            shown = show_answer(answer, user=user, addresses=self._addresses)
            html = render_to_string(
                "django_obc_ai/chat/answer.html", {"answer": shown}, request=self._request
            )
        yield write_event("answer", {"html": html})
