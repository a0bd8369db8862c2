"""Neither prompt nor key in any record, whatever fails: the real SDKs against a loopback server."""

from __future__ import annotations

import asyncio
import io
import logging
import logging.config
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.cache.backends.locmem import LocMemCache
from django.db import connections
from django.test import override_settings

from django_obc_ai import logging_config
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import override_ai
from tests.extras import is_installed, requires
from tests.servers.chat_completions import ChatCompletionsServer
from tests.servers.chat_completions import Reply as OpenAIReply
from tests.servers.gemini import GeminiServer, closed_port, replies

pytestmark = pytest.mark.django_db(transaction=True)
PROMPT = "Whose-land-is-it-4711?"
ANSWER = "It-is-everybodys-0815"
KEY_SHAPED = "AIzaCanary" + "0" * 31
CANARIES = ("land-is-it-4711", "everybodys-0815", "zaCanary")
CLASSES = {
    "google.genai": "google_genai.GoogleGenAIProvider",
    "google.generativeai": "google_generativeai.GoogleGenerativeAIProvider",
}
Written = Callable[[], str]


class TellingCache(LocMemCache):
    """Fails, and says what it was given."""

    def set(self, key: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"cannot store {value!r} under {key!r}")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Configure all loggers at DEBUG, and return a function that reads all that was written."""
    names = ["", *logging.Logger.manager.loggerDict]
    loggers = [logging.getLogger(name) for name in names]
    before = [(each, each.level, each.handlers[:], each.propagate) for each in loggers]
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    levels = {f"{name}level": "DEBUG" for name in ("", "calls_", "django_")}
    logging.config.dictConfig(logging_config(tmp_path, **levels))
    yield lambda: out.getvalue() + "".join(each.read_text() for each in tmp_path.glob("*.log"))
    for logger, level, handlers, propagate in before:
        logger.setLevel(level)
        logger.handlers[:], logger.propagate = handlers, propagate


@pytest.fixture(params=CLASSES)
def provider(request: pytest.FixtureRequest, gemini_server: GeminiServer) -> dict[str, Any]:
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    options = {"api_key": KEY_SHAPED, "model": "gemini-2.5-flash", "base_url": gemini_server.url}
    path = f"django_obc_ai.backends.providers.{CLASSES[request.param]}"
    return {"BACKEND": path, "OPTIONS": options}


FAULTS = [
    replies.answer(ANSWER),
    replies.bad_key(),
    replies.error(400, error_message=f"cannot read {PROMPT} with {KEY_SHAPED}"),
    replies.error(404),
    replies.error(500, error_message=f"lost {PROMPT}"),
    replies.rate_limited("0.1s"),
    replies.blocked_prompt(),
    replies.finished("SAFETY"),
    replies.broken_body("broken"),
    replies.broken_body("html"),
    replies.broken_body("empty"),
    replies.cut("rst", 1, text=ANSWER),
    replies.cut("no_answer"),
]


def ask(way: str) -> None:
    options: dict[str, Any] = {"include_context": False, "use_cache": False}

    async def alone() -> None:
        try:
            await TextService().agenerate_text(PROMPT, **options)
        finally:
            await sync_to_async(connections.close_all)()

    if way == "stream":
        try:
            list(TextService().stream_text(PROMPT, **options))
        except Exception:
            logging.getLogger("project").debug("A stream failed.")
    elif way == "async":
        asyncio.run(alone())
    else:
        TextService().generate_text(PROMPT, **options)


@pytest.mark.parametrize("way", ["sync", "stream", "async"])
def test_failing_calls_of_gemini_leave_neither_prompt_nor_key_nor_answer(
    provider: dict[str, Any], gemini_server: GeminiServer, written: Written, way: str
) -> None:
    gemini_server.script(*FAULTS)
    retry = {"attempts": 1, "deadline_seconds": 10}
    with override_ai(PROVIDERS={"default": provider}, RETRY=retry):
        for _ in FAULTS:
            ask(way)
    with closed_port() as url:
        nobody = {**provider, "OPTIONS": {**provider["OPTIONS"], "base_url": url}}
        with override_ai(PROVIDERS={"default": nobody}, RETRY=retry):
            ask(way)
    text = written()
    assert len(gemini_server.journal) >= len(FAULTS)
    assert "calls.failed" in text
    for canary in CANARIES:
        assert canary not in text


@requires("openai")
@pytest.mark.parametrize("way", ["sync", "stream", "async"])
def test_failing_calls_of_openai_leave_neither_prompt_nor_key_nor_answer(
    chat_completions_server: ChatCompletionsServer, written: Written, way: str
) -> None:
    quoting = {"message": f"cannot read {PROMPT} with {KEY_SHAPED}"}
    faults = [
        OpenAIReply(ANSWER),
        OpenAIReply(ANSWER, cut="rst"),
        OpenAIReply(body="broken"),
        OpenAIReply(body="html"),
        *(OpenAIReply(status=status, error=quoting) for status in (400, 401, 404, 429, 500)),
    ]
    chat_completions_server.script(*faults)
    path = "django_obc_ai.backends.providers.openai_compatible.OpenAICompatibleProvider"
    options = {"api_key": KEY_SHAPED, "model": "small", "base_url": chat_completions_server.url}
    provider = {"BACKEND": path, "OPTIONS": options}
    with override_ai(PROVIDERS={"default": provider}, RETRY={"attempts": 1}):
        for _ in faults:
            ask(way)
    text = written()
    assert len(chat_completions_server.journal) == len(faults)
    assert "calls.failed" in text
    for canary in CANARIES:
        assert canary not in text


def test_a_cache_that_quotes_what_it_was_given_is_not_quoted(written: Written) -> None:
    path = f"{TellingCache.__module__}.TellingCache"
    with override_ai([ANSWER], CACHE={"alias": "telling"}):
        with override_settings(CACHES={"telling": {"BACKEND": path}}):
            TextService().generate_text(PROMPT)
    text = written()
    assert "cache.write_failed" in text and "RuntimeError" in text
    for canary in CANARIES:
        assert canary not in text
