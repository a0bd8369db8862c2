"""``OBC_AI["LOG"]``: what it may hold, and what its errors say."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.conf import find_errors, get_settings


def error_of(**log: Any) -> Any:
    with override_settings(OBC_AI={"LOG": log}):
        (error,) = find_errors()
    return error


def test_nothing_is_stored_by_default_and_everything_known_is_redacted() -> None:
    with override_settings(OBC_AI={}):
        log = get_settings().log
    assert (log.store_content, log.content_days) == (False, 30)
    assert log.redact == ("email", "phone", "keys")
    assert (log.redact_patterns, log.redact_with) == ((), None)


def test_patterns_are_compiled_once() -> None:
    with override_settings(OBC_AI={"LOG": {"redact_patterns": ["(?i)secret"]}}):
        assert get_settings().log.redact_patterns == (re.compile("(?i)secret"),)


@pytest.mark.parametrize(("log", "message", "hint"), [
    ({"store_contents": True}, "unknown key 'store_contents'", "'store_content'"),
    ({"redact": ["emial"]}, "['redact'] has the unknown name 'emial'", "'email'"),
    ({"redact": "email"}, "['redact'] is of type str", "list"),
    ({"redact": [1]}, "['redact'][0] is of type int", "name"),
    ({"redact_patterns": ["("]}, "['redact_patterns'][0] is no regular expression", "re"),
    ({"redact_patterns": ["ok", "x*"]}, "['redact_patterns'][1] matches an empty text", "one"),
    ({"redact_patterns": [""]}, "['redact_patterns'][0] is of type str", "regular expression"),
    ({"redact_with": 7}, "['redact_with'] is of type int", "dotted path"),
    ({"content_days": 0}, "['content_days'] is 0", "above 0"),
    ({"content_days": True}, "['content_days'] is of type bool", "whole days"),
    ({"store_content": 1}, "['store_content'] is of type int", "True or False"),
])  # fmt: skip
def test_errors_say_where_and_what_to_do(log: dict[str, Any], message: str, hint: str) -> None:
    error = error_of(**log)
    assert message in str(error) and hint in error.hint
