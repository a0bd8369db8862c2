"""Ways to meet the errors of settings, providers and limits, each as a project meets it."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections, transaction

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import TransientError
from django_obc_ai.services.pauses import pause_provider
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import override_ai
from tests.docs.provoking import (
    ANSWER,
    BACKENDS,
    BUDGETS,
    NOWHERE,
    ONCE,
    Request,
    Told,
    ask,
    failed,
    needs,
    provokes,
    raised_by,
    scripted,
)
from tests.fakes import entry
from tests.servers.chat_completions import Reply as Service
from tests.servers.gemini import closed_port, replies


def of_gemini(**options: Any) -> dict[str, Any]:
    """Return `OBC_AI["PROVIDERS"]` with Gemini, with a key unless the options have another."""
    path = f"{BACKENDS}.providers.google_genai.GoogleGenAIProvider"
    return entry(
        path, **{"api_key": "AIza-0123456789", "model": "gemini-3.5-flash-lite", **options}
    )


# --- Settings and packages ------------------------------------------------------------


@provokes("ConfigurationError")
def _unknown_key(_: Request) -> Told:
    with override_ai(PROVIDER={}):
        return raised_by(get_settings)


@provokes("ConfigurationError")
def _no_key(_: Request) -> Told:
    needs("google.genai")
    with override_ai(PROVIDERS=of_gemini(api_key="")):
        return failed(ask())


@provokes("ConfigurationError")
def _no_such_alias(_: Request) -> Told:
    with override_ai():
        return failed(TextService(provider="defualt").generate_text("Q"))


@provokes("ConfigurationError")
def _no_price(_: Request) -> Told:
    with scripted("A", PRICES={}, BUDGETS=BUDGETS):
        return failed(ask())


@provokes("MissingDependencyError")
def _no_package(request: Request) -> Told:
    request.getfixturevalue("monkeypatch").setitem(sys.modules, "google.genai", None)
    with override_ai(PROVIDERS=of_gemini()):
        return failed(ask())


# --- Providers ------------------------------------------------------------------------


def gemini(request: Request, reply: replies.Reply, **arguments: Any) -> Told:
    """Return what a call ends with to which Gemini replies so."""
    needs("google.genai")
    server = request.getfixturevalue("gemini_server")
    server.script(reply, is_repeated=True)
    return _asked(server.url, server.key, **arguments)


def _asked(url: str, key: str, **arguments: Any) -> Told:
    with override_ai(PROVIDERS=of_gemini(api_key=key, base_url=url), RETRY=ONCE):
        return failed(ask(**arguments))


REPLIES: dict[str, list[replies.Reply]] = {
    "AuthenticationError": [replies.bad_key()],
    "InvalidRequestError": [
        replies.error(400, error_message="* GenerateContentRequest.generation_config.top_k: odd\n"),
        replies.error(400, error_status="FAILED_PRECONDITION"),
    ],
    "ModelNotFoundError": [replies.error(404)],
    "ContentBlockedError": [replies.blocked_prompt(), replies.finished("SAFETY")],
    "RateLimitError": [replies.rate_limited("53s")],
    "QuotaExhaustedError": [replies.daily_quota(), replies.error(402)],
    "TransientError": [replies.error(503)],
    "ProviderTimeoutError": [replies.error(504)],
    "BadResponseError": [replies.broken_body("html"), replies.answer("")],
}
for _name, _replies in REPLIES.items():
    for _reply in _replies:
        provokes(_name)(lambda request, reply=_reply: gemini(request, reply))  # type: ignore[misc]


@provokes("BadResponseError")
def _no_json(request: Request) -> Told:
    return gemini(request, replies.answer("Yes."), response_schema={"type": "object"})


@provokes("TransientError")
def _nobody_there(_: Request) -> Told:
    needs("google.genai")
    with closed_port() as url:
        return _asked(url, "AIza-0123456789")


def openai(request: Request, reply: Service) -> Told:
    """Return what a call ends with to which a service of OpenAI's protocol replies so."""
    needs("openai")
    server = request.getfixturevalue("chat_completions_server")
    server.script(reply)
    options = {"api_key": server.key, "base_url": server.url, "model": "small"}
    path = f"{BACKENDS}.providers.openai_compatible.OpenAICompatibleProvider"
    with override_ai(PROVIDERS=entry(path, **options), RETRY=ONCE):
        return failed(ask())


SERVICE: dict[str, list[Service]] = {
    "AuthenticationError": [Service(status=401, error={"code": "invalid_api_key"})],
    "InvalidRequestError": [Service(status=400, error={"param": "messages[0].role"})],
    "ModelNotFoundError": [Service(status=404, error={"code": "model_not_found"})],
    "ContentBlockedError": [
        Service(status=400, error={"code": "content_filter"}),
        Service(refusal="No."),
    ],
    "RateLimitError": [Service(status=429)],
    "QuotaExhaustedError": [Service(status=429, error={"code": "insufficient_quota"})],
    "TransientError": [Service(status=503)],
    "ProviderTimeoutError": [Service(status=408)],
    "BadResponseError": [Service(body="html")],
}
for _name, _services in SERVICE.items():
    for _service in _services:
        provokes(_name)(lambda request, reply=_service: openai(request, reply))  # type: ignore[misc]


@provokes("StreamInterruptedError")
def _cut_stream(request: Request) -> Told:
    needs("google.genai")
    server = request.getfixturevalue("gemini_server")
    server.script(replies.cut("clean", 1))
    with override_ai(PROVIDERS=of_gemini(api_key=server.key, base_url=server.url), RETRY=ONCE):
        return raised_by(list, TextService().stream_text("Q"))


@provokes("SharedCallError")
def _waits_in_vain(_: Request) -> Told:
    asked, go = threading.Event(), threading.Event()

    def answer(_: Any) -> Any:
        asked.set()
        assert go.wait(30)
        return ANSWER

    def first() -> None:
        try:
            assert ask().success
        finally:
            connections.close_all()

    retry = {"attempts": 1, "deadline_seconds": 0.2}
    with scripted(answer, RETRY=retry), ThreadPoolExecutor(1) as pool:
        leader = pool.submit(first)
        assert asked.wait(30)
        error = failed(ask())
        go.set()
        leader.result(30)
    return error


# --- Nothing was sent -----------------------------------------------------------------


@provokes("BudgetExceededError")
def _spent(_: Request) -> Told:
    with scripted(ANSWER, BUDGETS=BUDGETS):
        return failed(ask(max_output_tokens=8_000))


@provokes("ProviderPausedError")
def _paused(_: Request) -> Told:
    with scripted(ANSWER):
        pause_provider("default", reason="a strange bill")
        return failed(ask())


def _limited(**limits: Any) -> Told:
    given = {"default": {"per_minute": 1, "when_exceeded": "refuse", **limits}}
    with scripted(ANSWER, ANSWER, RATE_LIMITS=given):
        assert ask().success
        return failed(ask("another question"))


@provokes("RateLimitedError")
def _too_many(_: Request) -> Told:
    return _limited()


@provokes("RateLimitedError")
def _day_used_up(_: Request) -> Told:
    return _limited(per_minute=60, per_day=1)


@provokes("RateLimitedError")
def _closed(_: Request) -> Told:
    with scripted(
        TransientError("Down."),
        BREAKER={"failures": 1, "open_seconds": 30},
        RATE_LIMITS={"default": {"per_minute": 60, "when_exceeded": "refuse"}},
    ):
        failed(ask())
        return failed(ask("another question"))


@provokes("CostStoreError")
def _no_redis(_: Request) -> Told:
    needs("redis")
    stores = entry(f"{BACKENDS}.cost_stores.redis.RedisCostStore", url=NOWHERE)
    with scripted(ANSWER, BUDGETS=BUDGETS, COST_STORES=stores):
        return failed(ask())


@provokes("CostStoreError")
def _hold_in_a_transaction(_: Request) -> Told:
    stores = entry(f"{BACKENDS}.cost_stores.database.DatabaseCostStore")
    with scripted(ANSWER, BUDGETS=BUDGETS, COST_STORES=stores), transaction.atomic():
        return failed(ask())


@provokes("CostStoreLostError")
def _emptied_redis(request: Request) -> Told:
    needs("redis")
    valkey = pytest.importorskip("valkey")
    server = request.getfixturevalue("redis_server")
    stores = entry(f"{BACKENDS}.cost_stores.redis.RedisCostStore", url=server.url)
    with scripted(ANSWER, ANSWER, BUDGETS=BUDGETS, COST_STORES=stores):
        assert ask().success
        with valkey.Valkey.from_url(server.url) as client:
            client.flushall()
        return failed(ask("another question"))


@provokes("CoordinatorError")
def _no_coordinator(_: Request) -> Told:
    needs("redis")
    found = entry(f"{BACKENDS}.coordinators.redis.RedisCoordinator", url=NOWHERE)
    with override_ai(COORDINATORS=found):
        return raised_by(coordinators["default"].board, "k", "a", age_seconds=0)
