"""The chat as requests of the web use it."""

from __future__ import annotations

from typing import ClassVar

from django_obc_ai.services._chat_calls import ChatText
from django_obc_ai.services.chat import ChatService


class LendingText(ChatText):
    """Gives this thread's connections back while a provider answers, those that last excepted."""

    _lends_connections: ClassVar[bool] = True


class WebChatService(ChatService):
    """See `ChatService`.

    Whoever calls from code of their own may be reading through a connection that is kept; a view
    of ours is not, and others can have it in the meantime.
    """

    @property
    def _text(self) -> ChatText:
        return LendingText(self._alias)
