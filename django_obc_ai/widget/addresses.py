"""Addresses of the chat page, worked out while there is a request."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse

from django_obc_ai.web.asking import can_go_on

APP_NAME = "django_obc_ai_chat"
_ANY = UUID(int=0)


class Addresses:
    """Addresses of one site, in one language and below one prefix.

    They are taken while the request is handled: the pieces of a stream are written when what
    Django keeps about a request is gone already.
    """

    def __init__(self, request: HttpRequest) -> None:
        """Take them from a request to one of our own pages."""
        match = request.resolver_match
        self._namespace = APP_NAME if match is None else match.namespace
        self.page = self._reverse("page")
        #: Whether conversations can be opened again; without a login and a session none can.
        self.can_go_on = can_go_on(request)
        self._patterns = {
            name: self._reverse(name, _ANY) for name in ("conversation", "delete", "rows")
        }

    def conversation(self, key: Any) -> str:
        """Return the address of a conversation; the page's own where none can be opened again."""
        return self._filled("conversation", key) if self.can_go_on else self.page

    def delete(self, key: Any) -> str:
        """Return the address that deletes a conversation."""
        return self._filled("delete", key)

    def rows(self, key: Any) -> str:
        """Return the address of an answer's rows as CSV; "" where none can be opened again."""
        return self._filled("rows", key) if self.can_go_on else ""

    def _reverse(self, name: str, *arguments: Any) -> str:
        return reverse(f"{self._namespace}:{name}", args=arguments)

    def _filled(self, name: str, key: Any) -> str:
        return self._patterns[name].replace(str(_ANY), str(key))
