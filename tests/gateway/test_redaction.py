"""What is taken out of texts before they are stored, and what is left in."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.gateway.redaction import MOST_CHARACTERS, redact


def shout(text: str) -> str:
    return text.upper()


def nothing(text: str) -> None:
    return None


@pytest.mark.parametrize("phone", [
    "+63 917 123 4567", "+639171234567", "0917-123-4567", "09171234567", "(0917) 123 4567",
    "0917.123.4567", "639171234567", "0063 917 123 4567", "(02) 8123 4567", "02-8123-4567",
    "(064) 421-1234", "+63 (2) 8123 4567", "+63 64 421 1234", "0281234567", "+1 (212) 555-0100",
    "(212) 555-0100", "212-555-0100", "+44 20 7946 0958", "+49 (0)30 901820", "+971 50 123 4567",
    "0917\u2011123\u20114567", "0917\u00a0123\u00a04567",
])  # fmt: skip
def test_phone_numbers_go(phone: str) -> None:
    assert redact(f"call {phone}, please") == "call [phone], please"
    assert redact(phone) == "[phone]"


def test_numbers_that_stand_together_all_go() -> None:
    both = "+63 917 123 4567 0918 765 4321 +1 (212) 555-0100 (212) 555-0101"
    assert redact(both) == "[phone] [phone] [phone] [phone]"


@pytest.mark.parametrize("text", [
    "2026-11-28 10:00:00.123456", "1,000,000 people", "PSGC 1903600000", "Php 12,500.00",
    "0.12345678", "550e8400-0917-1234-4567-446655440000", "2024-2026", "12/11/2026", "R.A. 11054",
    "user@localhost", "a @ b", "max_tokens: 1000000", "risk-sharing", "the bearer of news", "sk-8",
])  # fmt: skip
def test_other_text_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("address", [
    "juana@example.org", "juana.dela-cruz+x@mail.example.org", "o'hara@x.ph", "j%40example.org",
    "ñ@example.org", "x" * 300 + "@example.org", "JUANA@EXAMPLE.ORG",
])  # fmt: skip
def test_addresses_go(address: str) -> None:
    assert redact(f"to <{address}>.") == "to <[e-mail]>."


#: Written in two parts, so that nobody takes this file for one that holds keys.
_BEGIN, _END = "-----BEGIN", "-----END"


@pytest.mark.parametrize(("start", "rest"), [
    ("AI", "zaSyA1234567890abcdefghijklmnopqrstuv"), ("sk", "-proj-abcdefghijklmnop123"),
    ("Bearer", " abc.def-123"), ("gh", "p_0123456789abcdefghij"), ("AK", "IAIOSFODNN7EXAMPLE"),
    ("password:", " hunter22"), ("my_token", "=abcdef12"),
    ("eyJhbGciOiJIUzI1", ".eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2Q"),
    (_BEGIN, f" RSA PRIVATE KEY-----\nMIIE\n{_END} RSA PRIVATE KEY-----"),
    (_BEGIN, " PRIVATE KEY-----\ncut off"),
])  # fmt: skip
def test_keys_go(start: str, rest: str) -> None:
    key = start + rest
    assert "[key]" in redact(f"it is {key}")
    for part in (
        "AIza",
        "sk-",
        "abc.def",
        "0123456789",
        "IOSF",
        "hunter",
        "abcdef12",
        "eyJ",
        "MIIE",
    ):
        assert part not in redact(f"it is {key}")


@override_settings(
    SECRET_KEY="a long and secret key",
    OBC_AI={
        "PROVIDERS": {
            "default": {
                "BACKEND": "x.Y",
                "OPTIONS": {
                    "api_key": "plain-words-only",
                    "tokenizer": "sentences",
                    "max_tokens": 10**9,
                },
            }
        },
        "COST_STORES": {
            "default": {"BACKEND": "x.Y", "OPTIONS": {"url": "redis://u:open-sesame@h"}}
        },
    },
)
def test_keys_of_the_settings_go_whatever_they_look_like() -> None:
    text = "say plain-words-only, open-sesame and a long and secret key, in sentences"
    assert redact(text) == "say [key], [key] and [key], in sentences"


@override_settings(OBC_AI={"LOG": {"redact": ["email"], "redact_patterns": [r"\bB-\d+\b"]}})
def test_only_what_is_asked_for_goes_and_patterns_of_the_project() -> None:
    assert redact("0917-123-4567 a@b.ph B-17") == "0917-123-4567 [e-mail] [redacted]"


def test_a_function_of_the_project_sees_what_is_left() -> None:
    for function in (shout, f"{__name__}.shout"):
        with override_settings(OBC_AI={"LOG": {"redact_with": function}}):
            assert redact("to a@b.ph") == "TO [E-MAIL]"


@pytest.mark.parametrize(("function", "word"), [
    ("no.such", "cannot be imported"), ("django.VERSION", "cannot be called"),
    (nothing, "returned NoneType"),
])  # fmt: skip
def test_a_function_that_cannot_be_used_is_an_error(function: Any, word: str) -> None:
    with override_settings(OBC_AI={"LOG": {"redact_with": function}}):
        with pytest.raises(ConfigurationError, match=word):
            redact("text")


def test_long_texts_are_cut_and_nothing_is_cut_in_half() -> None:
    for start in range(MOST_CHARACTERS - 40, MOST_CHARACTERS + 20, 3):
        text = "y " * (start // 2) + "canary.canary.canary@example.org" + " z" * 5_000
        found = redact(text)
        assert "canary" not in found and len(found) < MOST_CHARACTERS + 10
        assert found.endswith(" […]")


def test_what_no_database_takes_is_left_out() -> None:
    assert redact("a\0b\ud800c") == "ab?c"


@pytest.mark.parametrize("piece", [
    "a", "1", "0 ", "+1 ", "(", "eyJaaaaaaaaa-", f"{_BEGIN} PRIVATE KEY-----", f"{_BEGIN} ",
    f"{_BEGIN} RSA ", "a@", "a.", "x@a.", "bearer ", "token='", "00.1", "://a:", "eyJaaaaaaaaa.",
    "+63 9", "sk-", "AIza", "%40", "0917-", "\u2011", "password",
])  # fmt: skip
def test_hostile_texts_take_no_longer_than_others(piece: str) -> None:
    # What is not linear would take hours, and end the run.
    redact(piece * (2_000_000 // len(piece)))
    redact("@" + piece * (MOST_CHARACTERS // len(piece)) + "!")
