"""Counts that leave out the answer or the prompt are booked at the most the attempt can cost.

The real SDKs talk to the loopback servers, which bill what they really served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.exceptions import ObcAIError
from django_obc_ai.models import AIOperation
from django_obc_ai.services.costs import CostTracker
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply as Scripted
from django_obc_ai.testing import override_ai
from django_obc_ai.types import Usage
from tests.extras import is_installed
from tests.gateway.conftest import PRICES, run_async
from tests.servers.chat_completions import ChatCompletionsServer
from tests.servers.chat_completions import Reply as Completion
from tests.servers.gemini import GeminiServer, replies

pytestmark = pytest.mark.django_db(transaction=True)
FAMILY = "django_obc_ai.backends.providers."
GEMINI = {
    "google.genai": "google_genai.GoogleGenAIProvider",
    "google.generativeai": "google_generativeai.GoogleGenerativeAIProvider",
}
PROMPT = "Where is the coast?"
#: The prompt's bytes and two turns at the dearest input price, the answer's bound at the output's.
GEMINI_CEILING = Decimal((len(PROMPT) + 32) * 1_000 + 1_000 * 2_500).scaleb(-9)
OPENAI_CEILING = Decimal((len(PROMPT) + 32 + 256) * 1_000 + 1_000 * 4_000).scaleb(-9)
WAYS = ("call", "acall", "stream", "astream")
Configure = Callable[..., None]


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Make a class the project's provider."""
    with ExitStack() as stack:

        def enter(module: str, path: str, server: Any, model: str, **options: Any) -> None:
            if not is_installed(module):
                pytest.skip(f"{module} is not installed")
            settings = {
                "PROVIDERS": {
                    "default": {
                        "BACKEND": FAMILY + path,
                        "OPTIONS": {
                            "api_key": server.key, "base_url": server.url, "model": model, **options
                        },
                    }
                },
                "PRICES": {"small": PRICES["scripted"]},
                "BUDGETS": [{"scope": "global", "period": "month", "limit_usd": "1000"}],
            }  # fmt: skip
            stack.enter_context(override_settings(OBC_AI=settings))

        yield enter


def play(way: str) -> AIOperation:
    service = TextService()
    options: dict[str, Any] = {"include_context": False, "max_output_tokens": 1_000}
    options["use_cache"] = False

    async def collect() -> None:
        async for _ in service.astream_text(PROMPT, **options):
            pass

    try:
        if way == "call":
            service.generate_text(PROMPT, **options)
        elif way == "acall":
            run_async(service.agenerate_text(PROMPT, **options))
        elif way == "stream":
            list(service.stream_text(PROMPT, **options))
        else:
            run_async(collect())
    except ObcAIError:
        pass
    return AIOperation.objects.latest("created_at")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("module", sorted(GEMINI))
@pytest.mark.parametrize(
    "fields",
    [
        {"candidatesTokenCount": None, "totalTokenCount": 9, "promptTokenCount": 9},
        {"candidatesTokenCount": None, "totalTokenCount": None},
        {"promptTokenCount": None, "totalTokenCount": None},
    ],
    ids=["no output, total agrees", "no output", "no prompt"],
)
def test_gemini_leaves_out_a_count(
    configure: Configure, gemini_server: GeminiServer, module: str, way: str, fields: dict[str, Any]
) -> None:
    configure(module, GEMINI[module], gemini_server, "gemini-2.5-flash")
    gemini_server.script(replies.answer("word " * 450, usage_fields=fields))
    row = play(way)
    (entry,) = gemini_server.journal
    assert entry.billed.candidates >= 450
    assert row.success
    assert (row.cost_usd, row.cost_known, row.tokens_exact) == (GEMINI_CEILING, False, False)
    assert CostTracker().get_monthly_cost() == GEMINI_CEILING


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "usage",
    [
        {"completion_tokens": 0, "total_tokens": 9, "prompt_tokens": 9},
        {"completion_tokens": None, "total_tokens": None, "prompt_tokens": 9},
        {"completion_tokens": 450, "total_tokens": 450, "prompt_tokens": 0},
    ],
    ids=["no output, total agrees", "no output", "no prompt"],
)
def test_a_service_leaves_out_a_count(
    configure: Configure,
    chat_completions_server: ChatCompletionsServer,
    way: str,
    usage: dict[str, Any],
) -> None:
    path = "openai_compatible.OpenAICompatibleProvider"
    configure("openai", path, chat_completions_server, "small")
    chat_completions_server.script(Completion("word " * 450, usage=usage))
    row = play(way)
    assert row.success
    assert (row.cost_usd, row.cost_known, row.tokens_exact) == (OPENAI_CEILING, False, False)


def test_a_free_provider_may_leave_out_counts_at_no_cost(
    configure: Configure, chat_completions_server: ChatCompletionsServer
) -> None:
    path = "openai_compatible.OpenAICompatibleProvider"
    configure("openai", path, chat_completions_server, "small", is_local=True)
    chat_completions_server.script(Completion("Yes.", usage={"completion_tokens": 0}))
    row = play("call")
    assert (row.cost_usd, row.cost_known, row.tokens_exact) == (0, True, False)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        # More than was asked for: what was counted is dearer than the bound.
        (Usage(output_tokens=1_000_000), Decimal(4)),
        # Thinking that was derived from a total explains the answer.
        (Usage(input_tokens=10, thinking_tokens=5, is_exact=False), Decimal("0.000030")),
        # Thinking that was reported does not.
        (Usage(input_tokens=10, thinking_tokens=5), Decimal("0.000443")),
    ],
)
def test_what_was_counted_is_never_lowered(usage: Usage, cost: Decimal) -> None:
    with override_ai([Scripted("Yes, it is.", usage=usage)], PRICES=PRICES):
        TextService().generate_text("Q" * 11, include_context=False, max_output_tokens=100)
    row = AIOperation.objects.get()
    assert row.cost_usd == cost
    assert row.output_tokens + row.thinking_tokens == usage.output_tokens + usage.thinking_tokens
    assert not row.tokens_exact
