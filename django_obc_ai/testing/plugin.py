"""A pytest plugin with two fixtures; ``pytest_plugins = ["django_obc_ai.testing.plugin"]``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from django_obc_ai.testing.cassettes import Cassette
from django_obc_ai.testing.network import block_network
from django_obc_ai.testing.overrides import override_ai


@pytest.fixture
def ai(request: pytest.FixtureRequest) -> Iterator[override_ai]:
    """Run the test under `override_ai`.

    Mark the test with ``@pytest.mark.ai(script=[...], BUDGETS=[...])`` to give it a
    script or further keys of ``OBC_AI``. ``cassette="some.json"`` is a file in the folder
    ``cassettes`` beside the test's module, and ``cassette=True`` one that is named after the test.
    """
    marker = request.node.get_closest_marker("ai")
    arguments = dict(marker.kwargs) if marker else {}
    if "cassette" in arguments:
        arguments["cassette"] = _placed(arguments["cassette"], request)
    kit = override_ai(*(marker.args if marker else ()), **arguments)
    with kit:
        yield kit


def _placed(cassette: Any, request: pytest.FixtureRequest) -> Any:  # Any: what the marker says
    """Return a cassette, those named by a text or by True below ``cassettes``."""
    if cassette is None or isinstance(cassette, Cassette):
        return cassette
    folder = request.path.parent / "cassettes"
    if cassette is not True:
        return folder / cassette
    inside = [request.cls.__name__] if request.cls else []
    name = re.sub(r"[^\w.-]+", "-", ".".join([*inside, request.node.name])).strip("-")
    return folder / request.path.stem / f"{name}.json"


@pytest.fixture
def no_network() -> Iterator[block_network]:
    """Run the test under `block_network`."""
    with block_network() as guard:
        yield guard


def pytest_configure(config: pytest.Config) -> None:
    """Document the marker."""
    config.addinivalue_line(
        "markers", "ai(script=None, cassette=None, **settings): arguments of override_ai"
    )
