"""What tests of the chat page share: places to ask about, and people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from tests.extras import is_installed
from tests.services.conftest import places  # noqa: F401 - pytest finds fixtures by their names

PAGE = "/chat/"
QUESTION = "How many places are there?"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if is_installed("markdown_it") and is_installed("nh3"):
        return
    for item in items:
        if "tests/widget/" in str(item.path):
            item.add_marker(pytest.mark.skip(reason="the extra chat is not installed"))


@pytest.fixture(autouse=True)
def _not_counted_before() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def client_of(user: Any, **more: Any) -> Client:
    client = Client(**more)
    if user is not None:
        client.force_login(user)
    return client


def ask(client: Client, message: str = QUESTION, **more: Any) -> Any:
    """Send the form, as a browser without JavaScript does."""
    return client.post(PAGE, {"message": message, **more})


def stream(client: Client, message: str = QUESTION, **more: Any) -> Any:
    headers = {"accept": "text/event-stream"}
    return client.post(PAGE, {"message": message, **more}, headers=headers)


def events_of(response: Any) -> list[tuple[str, Any]]:
    """The events of a stream, each with its data."""
    found = []
    for block in response.getvalue().decode().strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found
