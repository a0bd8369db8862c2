"""OBC_AI["CHAT"]: what is refused, and where it says so."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.conf import ChatSettings, find_errors, get_settings
from django_obc_ai.exceptions import ConfigurationError


def test_without_the_key_there_are_defaults() -> None:
    with override_settings(OBC_AI={}):
        assert get_settings().chat == ChatSettings()


def test_every_subkey_is_read() -> None:
    chat = {
        "provider": "cheap", "models": {"app.Model": {"fields": ["name"]}}, "history_tokens": 9,
        "max_message_characters": 8, "retention_days": None, "suggestions": False,
    }  # fmt: skip
    with override_settings(OBC_AI={"CHAT": chat}):
        assert get_settings().chat == ChatSettings(**chat)


@pytest.mark.parametrize(("chat", "message", "hint"), [
    ({"history_token": 5}, "'history_token'", "history_tokens"),
    ({"history_tokens": None}, "['history_tokens']", ""),
    ({"history_tokens": 0}, "['history_tokens']", "above 0"),
    ({"retention_days": "year"}, "['retention_days']", "above 0"),
    ({"suggestions": "no"}, "['suggestions']", ""),
    ({"provider": ""}, "['provider']", ""),
    ({"models": []}, "['models']", ""),
    ({"models": {"app.Model": {"field": []}}}, "['models']['app.Model']", "fields"),
])  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(
    chat: dict[str, Any], message: str, hint: str
) -> None:
    with override_settings(OBC_AI={"CHAT": chat}):
        (error,) = find_errors()
        assert message in error.message and "CHAT" in error.message
        assert hint in str(error)
        with pytest.raises(ConfigurationError):
            get_settings()
