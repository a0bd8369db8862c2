"""What tests of the web layer share: requests, and a cache of each test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import override_settings

from django_obc_ai.web import throttles


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 3_600_000.0  # a whole hour

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(throttles, "_clock", found)
    return found


@pytest.fixture
def own_cache() -> Iterator[None]:
    """An empty cache in the place of the default one."""
    backend = "django.core.cache.backends.locmem.LocMemCache"
    with override_settings(CACHES={"default": {"BACKEND": backend, "LOCATION": uuid.uuid4().hex}}):
        yield


def request_of(user: Any = None, *, address: str = "192.0.2.1", **more: Any) -> Any:
    """As much of a request as is looked at."""
    meta = {"REMOTE_ADDR": address, **more}
    return SimpleNamespace(META=meta, user=AnonymousUser() if user is None else user, session={})


def person(key: int | None = 1) -> Any:
    """Somebody who logged in."""
    return SimpleNamespace(pk=key, is_authenticated=True, is_anonymous=False)
