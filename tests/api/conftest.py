"""People who use the API, and what belongs to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.test import Client, override_settings

from django_obc_ai.testing import override_ai
from tests.extras import is_installed

TOKENS = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "tests.api.tokens.NameToken",
        "rest_framework.authentication.SessionAuthentication",
    ]
}
#: What a test sends in one go is more than people do.
FREE = {"anon": None, "user": None, "burst": None}
JSON = "application/json"


class Person:
    """Somebody with a client of their own."""

    def __init__(self, user: Any = None, **headers: str) -> None:
        self.user = user
        self.client = Client(headers=headers)
        if user is not None and not headers:
            self.client.force_login(user)

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(f"/ai/api/{path}", **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.client.post(f"/ai/api/{path}", body or {}, content_type=JSON, **options)

    def delete(self, path: str) -> Any:
        return self.client.delete(f"/ai/api/{path}")

    def allow(self, name: str) -> Person:
        self.user.user_permissions.add(Permission.objects.get(codename=name))
        return self


@pytest.fixture(autouse=True)
def _not_counted() -> Iterator[None]:
    cache.clear()
    with override_ai(WEB={"throttles": FREE}):
        yield


@pytest.fixture
def by_token() -> Iterator[None]:
    if not is_installed("rest_framework"):
        pytest.skip("rest_framework is not installed")
    with override_settings(REST_FRAMEWORK=TOKENS):
        yield


@pytest.fixture
def amina(db: None) -> Person:
    return Person(get_user_model().objects.create(username="amina"))


@pytest.fixture
def omar(db: None) -> Person:
    return Person(get_user_model().objects.create(username="omar"))


@pytest.fixture
def nobody(db: None) -> Person:
    return Person()


def is_problem(response: Any, status: int, code: str = "") -> dict[str, Any]:
    """Return problem details, after looking at their form."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    assert response["Cache-Control"] == "no-store"
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "code", "detail"} <= set(body)
    assert body["status"] == status
    assert not code or body["code"] == code, body
    return body
