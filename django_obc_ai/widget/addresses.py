"""Addresses of the chat page, worked out while there is a request."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse

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
        self._patterns = {
            name: self._reverse(name, _ANY) for name in ("conversation", "delete", "rows")
        }

    def conversation(self, key: Any) -> str:
        """Return the address of a conversation."""
        return self._filled("conversation", key)

    def delete(self, key: Any) -> str:
        """Return the address that deletes a conversation."""
        return self._filled("delete", key)

    def rows(self, key: Any) -> str:
        """Return the address of an answer's rows as CSV."""
        return self._filled("rows", key)

    def _reverse(self, name: str, *arguments: Any) -> str:
        return reverse(f"{self._namespace}:{name}", args=arguments)

    def _filled(self, name: str, key: Any) -> str:
        return self._patterns[name].replace(str(_ANY), str(key))
