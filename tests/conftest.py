"""Fixtures and rules for the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from django_obc_ai.logs.event import forget_limits
from django_obc_ai.testing.network import block_network
from tests.servers.fixtures import (  # noqa: F401 - pytest finds fixtures by their names here
    chat_completions_server,
    django_db_modify_db_settings,
    gemini_process,
    gemini_server,
    gemini_session_process,
    postgres_alias,
    postgres_server,
    redis_server,
    redis_session_server,
)
from tests.telemetry import heard  # noqa: F401 - the same

#: What follows a page of the documentation to its end, or works on an installed site.
_LONG_FIXTURES = {"quickstart", "home"}


@pytest.hookimpl(tryfirst=True)  # before the option -m leaves out what is marked
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        is_of_kit = "tests/deploy/" in item.path.as_posix()
        if is_of_kit or _LONG_FIXTURES & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.long)
    if os.environ.get("OBC_AI_LIVE_API_KEY"):
        return
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.skip(reason="needs OBC_AI_LIVE_API_KEY"))


@pytest.fixture(autouse=True)
def _all_events() -> None:
    """What one test has logged does not keep another's from being logged."""
    forget_limits()


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test reaches another machine, unless it is marked as live."""
    if request.node.get_closest_marker("live"):
        yield
        return
    with block_network():
        yield
