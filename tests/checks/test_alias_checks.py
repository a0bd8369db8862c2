"""E020: providers that FALLBACKS and RATE_LIMITS name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.checks.test_checks import assert_only, found

pytestmark = pytest.mark.django_db
OFFLINE = {"BACKEND": "django_obc_ai.backends.providers.offline.OfflineProvider"}
PROVIDERS = {"default": OFFLINE, "cheap": OFFLINE}


@pytest.mark.parametrize(
    "settings",
    [
        {"FALLBACKS": {"default": ["cheep"]}},
        {"FALLBACKS": {"cheep": ["default"]}},
        {"RATE_LIMITS": {"cheep": {"per_minute": 5}}},
        {"RATE_LIMITS": {"cheep": None}},
    ],
    ids=str,
)
def test_E020_no_such_provider(settings: dict[str, Any]) -> None:  # noqa: N802
    messages = found(PROVIDERS=PROVIDERS, **settings)
    assert_only("E020", messages, f"OBC_AI['{next(iter(settings))}']")
    assert "names 'cheep', which PROVIDERS lacks" in messages[0].msg
    assert "'cheap'" in (messages[0].hint or "")


def test_aliases_that_exist_are_silent() -> None:
    limits = {"default": {"per_minute": 5}, "cheap": None}
    assert found(PROVIDERS=PROVIDERS, FALLBACKS={"default": ["cheap"]}, RATE_LIMITS=limits) == []
