"""W006 to W008: backends that are old, models that are aliases, keys that are none."""

from __future__ import annotations

from typing import Any

import pytest

from django_obc_ai.backends.providers.google_generativeai import GoogleGenerativeAIProvider
from tests.checks.test_checks import PRICED, assert_only, found
from tests.fakes import KEY, KeyedProvider, entry

pytestmark = pytest.mark.django_db(transaction=True)


def test_W006_deprecated_backend(monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: N802
    monkeypatch.setattr(KeyedProvider, "deprecation", "it is old. Use another.")
    options = {"api_key": KEY, "model": "gemini-2.5-flash"}
    messages = found(PROVIDERS=entry(KeyedProvider, **options))
    assert_only("W006", messages, "OBC_AI['PROVIDERS']['default'] should be replaced: it is old.")


def test_W006_says_what_to_use_in_place_of_google_generativeai() -> None:  # noqa: N802
    if not GoogleGenerativeAIProvider.is_installed():
        pytest.skip("google-generativeai is not installed")
    options = {"api_key": KEY, "model": "gemini-2.5-flash"}
    (message,) = found(PROVIDERS=entry(GoogleGenerativeAIProvider, **options))
    assert_only("W006", [message], "google_genai.GoogleGenAIProvider")


def test_W007_alias(monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: N802
    for alias, member in (
        ("gemini-flash-latest", "gemini-3.8-flash"),
        ("models/gemini-flash-lite-latest", "gemini-3.5-flash-lite"),
        ("gemini-pro-latest", "gemini-3.1-pro-preview"),
    ):
        messages = found(PROVIDERS=entry(KeyedProvider, api_key=KEY, model=alias))
        assert_only("W007", messages, f"The model {alias!r} of OBC_AI['PROVIDERS']['default'] is")
        assert member in (messages[0].hint or "")
    priced = {"gemini-flash-latest": PRICED["fake-1"]}
    options = {"api_key": KEY, "model": "gemini-flash-latest"}
    assert found(PROVIDERS=entry(KeyedProvider, **options), PRICES=priced) == []


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("AIza-key ", "holds white space"),
        ("AIza\nkey", "holds white space"),
        ('"AIza-key"', "begins with a quotation mark"),
        ("your-api-key", "looks like a placeholder"),
        (b"AIza-key", "is no text"),
    ],
)
def test_W008_shape_of_the_key(key: Any, fault: str) -> None:  # noqa: N802
    options = {"api_key": key, "model": "gemini-2.5-flash"}
    (message,) = found(PROVIDERS=entry(KeyedProvider, **options))
    assert_only("W008", [message], f"The API key of OBC_AI['PROVIDERS']['default'] {fault}.")
    assert "AIza" not in message.msg + (message.hint or "")
