"""The books of a long mix of calls equal what the service billed, to the nano-dollar.

The real SDKs talk to the loopback server, which decides by itself what it bills. The prices
here are written down a second time, in nano-dollars per token, so that neither the package's
table nor its arithmetic is compared with itself.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import tenacity
from django.db.models import Sum
from django.test import override_settings
from django.utils import timezone

from django_obc_ai.exceptions import ObcAIError
from django_obc_ai.models import AIOperation
from django_obc_ai.services.costs import CostTracker
from django_obc_ai.services.text import TextService
from tests.extras import is_installed
from tests.gateway.conftest import run_async
from tests.servers.gemini import GeminiServer, JournalEntry, Reply, replies

pytestmark = pytest.mark.django_db(transaction=True)

BACKENDS = {
    "google.genai": "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider",
    "google.generativeai": (
        "django_obc_ai.backends.providers.google_generativeai.GoogleGenerativeAIProvider"
    ),
}
MODELS = (
    "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro", "gemini-3.1-pro-preview",
    "gemini-3.5-flash", "gemini-3-flash-preview", "gemini-4-argon", "gemini-flash-latest",
    "gemini-pro-latest", "models/gemini-3.1-flash-lite",
)  # fmt: skip
WAYS = ("call", "acall", "stream", "astream")
ROUNDS = 9
SEED = 20261124


def nano_per_token(model: str, day: date, prompt: int) -> tuple[int, int, int]:
    """Input, cached input and output (thinking included): $1 per million is 1,000 nano each."""
    is_long = prompt > 200_000
    is_dear = {"gemini-4-argon": day >= date(2026, 12, 1)}.get(model, day >= date(2027, 1, 1))
    prices: dict[str, tuple[int, int, int]] = {
        "gemini-2.5-flash": (300, 30, 2_500),
        "gemini-2.5-flash-lite": (100, 10, 400),
        "gemini-2.5-pro": (2_500, 250, 15_000) if is_long else (1_250, 125, 10_000),
        "gemini-3.1-pro-preview": (4_000, 400, 18_000) if is_long else (2_000, 200, 12_000),
        "gemini-3.1-flash-lite": (250, 25, 1_500),
        "gemini-3.5-flash": (1_500, 150, 9_000),
        "gemini-3-flash-preview": (500, 50, 3_000),
        "gemini-3.8-flash": (1_500, 150, 7_500) if is_dear else (750, 75, 3_750),
        "gemini-4-argon": (4_000, 200, 20_000) if is_dear else (2_000, 100, 10_000),
    }
    return prices[model]


def bill(entry: JournalEntry) -> int:
    """Nano-dollars that the service charges for one request."""
    used = entry.billed
    if not used:
        return 0
    fresh, cached, output = nano_per_token(
        entry.model_version, entry.received_at.date(), used.prompt
    )
    return (
        (used.prompt - used.cached + used.tool) * fresh
        + used.cached * cached
        + (used.candidates + used.thoughts) * output
    )


@dataclass(frozen=True)
class Step:
    """One call of the mix: what the server does, and how it must end.

    Attributes:
        category: `AIOperation.error_category`, "" for success.
        leave_after: Pieces after which the caller leaves a stream.
        is_bounded: The bill is not told: the ceiling is booked, as an upper bound of it.
        is_again: Asks the question of the step before, which the response cache answers.
    """

    kind: str
    replies: tuple[Reply, ...]
    category: str = ""
    attempts: int = 1
    ways: tuple[str, ...] = WAYS
    leave_after: int = 0
    is_again: bool = False
    is_exact: bool = True
    is_bounded: bool = False


STREAMED = ("stream", "astream")
BUSY = replies.rate_limited("0s")
KINDS = (
    Step("plain", (replies.answer("A plain answer."),)),
    Step("cached", (replies.answer("Cached.", prompt_tokens=5_000, cached_tokens=4_096),)),
    Step("long", (replies.answer("Long.", prompt_tokens=200_001, cached_tokens=64),)),
    Step("not long", (replies.answer("Not long.", prompt_tokens=200_000),)),
    Step("thinking", (replies.answer("Thought over.", thoughts_tokens=777),)),
    Step("tool", (replies.answer("By a tool.", tool_tokens=123, thoughts_tokens=5),)),
    Step("truncated", (replies.finished("MAX_TOKENS", text="word " * 40),)),
    Step("used up by thinking", (replies.finished("MAX_TOKENS", text="", thoughts_tokens=1_000),),
         category="bad_response"),
    Step("blocked prompt", (replies.blocked_prompt(),), category="content_blocked"),
    Step("blocked answer", (replies.finished("SAFETY", thoughts_tokens=9),),
         category="content_blocked"),
    Step("failed", (replies.error(400),), category="invalid_request"),
    Step("failed thrice", (replies.error(503),) * 3, category="transient", attempts=3),
    Step("daily quota", (replies.daily_quota(),), category="quota_exhausted"),
    Step("retried", (BUSY, replies.error(500), replies.answer("At last.")), attempts=3),
    Step("retried after a wait", (replies.error(504), replies.answer("So late.")), attempts=2),
    Step("cut clean", (replies.cut("clean", 2, text="one two three four"),), ways=STREAMED,
         category="stream_interrupted", is_exact=False),
    Step("cut short", (replies.cut("fin", 3, text="one two three four", thoughts_tokens=8),),
         ways=STREAMED, category="stream_interrupted", is_exact=False),
    Step("error in mid stream", (replies.cut("error", 1, text="one two three four"),),
         ways=STREAMED, category="stream_interrupted", is_exact=False),
    Step("left", (replies.cut("hang", 2, text="one two three four"),), ways=STREAMED,
         category="stream_interrupted", leave_after=2, is_exact=False),
    Step("contradictory counts", (replies.usage_contradictory(1),), is_exact=False),
    Step("no counts", (replies.answer(usage="missing"),), is_exact=False, is_bounded=True),
    Step("no output counted", (replies.answer("Uncounted.", usage_fields={
        "candidatesTokenCount": None, "totalTokenCount": None}),), is_exact=False, is_bounded=True),
    Step("cut whole", (replies.cut("rst"),) * 3, ways=("call", "acall"), attempts=3,
         category="transient", is_exact=False, is_bounded=True),
    Step("from the response cache", (), is_again=True, attempts=0),
)  # fmt: skip


@pytest.fixture(params=sorted(BACKENDS))
def server(
    request: pytest.FixtureRequest, gemini_server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GeminiServer]:
    """The loopback server as the provider of the project, and no waiting between attempts."""
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setattr("django_obc_ai.gateway.retry._BACKOFF", tenacity.wait_none())
    # Nor for a provider that has closed; tests/gateway/test_closed_providers.py is about these.
    monkeypatch.setattr("django_obc_ai.gateway.ratelimit.verdict_of", lambda _: ("ended", None))
    options = {"api_key": gemini_server.key, "base_url": gemini_server.url}
    provider = {"BACKEND": BACKENDS[request.param], "OPTIONS": {**options, "model": MODELS[0]}}
    budgets = [{"scope": "global", "period": "month", "limit_usd": "1000"}]
    settings = {"PROVIDERS": {"default": provider}, "BUDGETS": budgets}
    settings["RATE_LIMITS"] = {"default": None}
    with override_settings(OBC_AI=settings):
        yield gemini_server


def make_calls() -> list[tuple[Step, str, str]]:
    """The mix in random order: step, way and model; each step goes every one of its ways twice."""
    chance = random.Random(SEED)
    calls = []
    for turn in range(ROUNDS):
        for step in chance.sample(KINDS, len(KINDS)):
            if step.is_again:
                continue
            calls.append((step, step.ways[turn % len(step.ways)], chance.choice(MODELS)))
            if step.kind == "plain":
                calls.append((KINDS[-1], WAYS[turn % len(WAYS)], calls[-1][2]))
    return calls


def play(step: Step, way: str, model: str, prompt: str) -> None:
    """Make one call and ignore how it ends; the books tell that."""
    service = TextService(model=model)
    options: dict[str, Any] = {"include_context": False, "max_output_tokens": 1_000}
    if way == "call":
        service.generate_text(prompt, **options)
    elif way == "acall":
        run_async(service.agenerate_text(prompt, **options))
    elif way == "stream":
        try:
            pieces = iter(service.stream_text(prompt, **options))
            for number, _ in enumerate(pieces, start=1):
                if number == step.leave_after:
                    break
            pieces.close()
        except ObcAIError:
            return
    else:
        run_async(astream(service, step, prompt, options))


async def astream(service: TextService, step: Step, prompt: str, options: Any) -> None:
    pieces = aiter(service.astream_text(prompt, **options))
    try:
        number = 0
        async for _ in pieces:
            number += 1
            if number == step.leave_after:
                break
    except ObcAIError:
        return
    finally:
        await pieces.aclose()


def test_the_books_equal_the_bill(server: GeminiServer) -> None:
    calls = make_calls()
    assert len(calls) >= 200
    prompt = ""
    seen = 0
    expected = Decimal(0)
    for number, (step, way, model) in enumerate(calls):
        if not step.is_again:
            prompt = f"Question {number}: where is the coast?"
            server.script(*step.replies)
        play(step, way, model, prompt)
        entries = server.journal[seen:]
        seen += len(entries)
        row = AIOperation.objects.latest("created_at")
        told = f"{number} {step.kind} by {way} of {model}: {row.error_message}"
        assert (row.error_category, row.attempts) == (step.category, step.attempts), told
        assert len(entries) == step.attempts, told
        charged = Decimal(sum(map(bill, entries))).scaleb(-9)
        if step.is_bounded:
            assert row.cost_usd > charged > 0, told
        else:
            assert row.cost_usd == charged, told
        assert row.tokens_exact is step.is_exact, told
        assert row.cost_known is not step.is_bounded, told
        expected += row.cost_usd if step.is_bounded else charged

    billed = expected
    assert billed > Decimal(sum(map(bill, server.journal))).scaleb(-9) > 0
    assert AIOperation.objects.count() == len(calls)
    assert AIOperation.objects.aggregate(sum=Sum("cost_usd"))["sum"] == billed > 0
    tracker = CostTracker()
    assert tracker.get_monthly_cost() == billed
    days = [timezone.localdate(each.created_at) for each in AIOperation.objects.all()]
    breakdown = tracker.get_cost_breakdown(min(days), max(days), by="model")
    assert sum(each["cost"] for each in breakdown) == billed
    assert {step.kind for step, _, _ in calls} == {step.kind for step in KINDS}
    assert min(Counter(way for _, way, _ in calls).values()) >= 40
