"""A way to log in by token, without a table of tokens: the token is the name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from django.contrib.auth import get_user_model
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed


class NameToken(BaseAuthentication):
    def authenticate(self, request: Any) -> Any:
        scheme, _, name = get_authorization_header(request).decode().partition(" ")
        if scheme != "Token":
            return None
        user = get_user_model().objects.filter(username=name).first()
        if user is None:
            raise AuthenticationFailed({"detail": "No such token.", "code": "unknown"})
        return user, name

    def authenticate_header(self, request: Any) -> str:
        return "Token"


class ServiceToken(BaseAuthentication):
    """Lets in what is no row of the user model: the account of a service, with a key or without."""

    def authenticate(self, request: Any) -> Any:
        scheme, _, key = get_authorization_header(request).decode().partition(" ")
        if scheme != "Service":
            return None
        user = SimpleNamespace(
            pk=int(key) if key else None, is_authenticated=True, is_anonymous=False, is_active=True
        )
        return user, key
