"""A pytest plugin with two fixtures; ``pytest_plugins = ["django_obc_ai.testing.plugin"]``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_obc_ai.testing.network import block_network
from django_obc_ai.testing.overrides import override_ai


@pytest.fixture
def ai(request: pytest.FixtureRequest) -> Iterator[override_ai]:
    """Run the test under `override_ai`.

    Mark the test with ``@pytest.mark.ai(script=[...], BUDGETS=[...])`` to give it a
    script or further keys of ``OBC_AI``.
    """
    marker = request.node.get_closest_marker("ai")
    kit = override_ai(*(marker.args if marker else ()), **(marker.kwargs if marker else {}))
    with kit:
        yield kit


@pytest.fixture
def no_network() -> Iterator[block_network]:
    """Run the test under `block_network`."""
    with block_network() as guard:
        yield guard


def pytest_configure(config: pytest.Config) -> None:
    """Document the marker."""
    config.addinivalue_line("markers", "ai(script=None, **settings): arguments of override_ai")
