"""No transaction is open around a view, in whatever database."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.handlers.base import BaseHandler
from django.db import DEFAULT_DB_ALIAS, connections
from django.urls import resolve

from django_obc_ai.web.transactions import never_atomic
from tests.extras import requires


@pytest.fixture
def two_atomic(monkeypatch: pytest.MonkeyPatch) -> None:
    default = {**connections.settings[DEFAULT_DB_ALIAS], "ATOMIC_REQUESTS": True}
    settings = {DEFAULT_DB_ALIAS: default, "another": default}
    monkeypatch.setitem(connections.__dict__, "settings", settings)


def is_left_alone(view: Any) -> bool:
    return BaseHandler().make_view_atomic(view) is view


@pytest.mark.usefixtures("two_atomic")
def test_databases_that_come_later_are_left_alone_too() -> None:
    def view(request: Any) -> None: ...

    assert not is_left_alone(view)
    assert is_left_alone(never_atomic(view))


@pytest.mark.usefixtures("two_atomic")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/ai/api/chat/", marks=requires("rest_framework")),
        pytest.param("/ai/api/chat/stream/", marks=requires("rest_framework")),
        pytest.param("/chat/", marks=requires("markdown_it")),
    ],
)
def test_views_that_wait_for_a_provider_are_in_no_transaction(path: str) -> None:
    assert is_left_alone(resolve(path).func)
