"""The span of a call, and what is measured of it."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from django_obc_ai import telemetry
from django_obc_ai.exceptions import RateLimitError, StreamInterruptedError, TransientError
from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import CutStream, Reply
from django_obc_ai.types import Usage
from tests.gateway.conftest import SECRET, Scripted, run_async
from tests.telemetry import Heard

pytestmark = pytest.mark.django_db(transaction=True)
USAGE = Usage(
    input_tokens=100, cached_tokens=20, output_tokens=40, thinking_tokens=8, tool_tokens=5
)
CHAT = "chat scripted"


def attributes(heard: Heard, name: str = CHAT) -> dict[str, Any]:
    return dict(heard.span(name).attributes or {})


def test_a_call_is_a_client_span_with_its_figures(heard: Heard, scripted: Scripted) -> None:
    scripted(Reply("A", usage=USAGE))
    result = TextService().generate_text(
        SECRET, module="mana", operation_type="analysis", temperature=0.25, max_output_tokens=300
    )
    span = heard.span(CHAT)
    row = AIOperation.objects.get()
    assert (span.kind.name, span.parent, span.status.status_code.name) == ("CLIENT", None, "UNSET")
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "default",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.max_tokens": 300,
        "gen_ai.request.temperature": 0.25,
        "gen_ai.response.model": "scripted",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 105,
        "gen_ai.usage.output_tokens": 48,
        "gen_ai.usage.cache_read.input_tokens": 20,
        "gen_ai.usage.reasoning.output_tokens": 8,
        "obc_ai.attempts": 1,
        "obc_ai.cached": False,
        "obc_ai.coalesced": False,
        "obc_ai.cost_known": True,
        "obc_ai.cost_usd": float(row.cost_usd),
        "obc_ai.module": "mana",
        "obc_ai.operation_id": str(result.operation_id),
        "obc_ai.operation_type": "analysis",
        "obc_ai.provider": "default",
        "obc_ai.saved_usd": 0.0,
        "obc_ai.tokens_exact": True,
    }


def test_no_span_holds_prompt_answer_user_or_tenant(
    heard: Heard, scripted: Scripted, django_user_model: Any
) -> None:
    scripted(Reply("Nobody's answer", usage=USAGE), RateLimitError("Busy."), RETRY={"attempts": 1})
    user = django_user_model.objects.create(pk=987_654, username="somebody")
    for prompt in (SECRET, f"{SECRET} Really?"):
        TextService().generate_text(prompt, user=user, scope="tenant-7", system_context="Be kind")
    told = "".join(each.to_json() for each in heard.spans)
    for word in (SECRET, "Nobody", "987654", "somebody", "tenant-7", "Be kind"):
        assert word not in told


def test_what_is_measured_is_what_the_ledger_holds(heard: Heard, scripted: Scripted) -> None:
    scripted(Reply("A", usage=USAGE), Reply("B", usage=USAGE))
    for prompt in ("One?", "Two?", "Two?"):
        TextService().generate_text(prompt, module="mana")
    tokens = {
        point.attributes["gen_ai.token.type"]: (point.sum, point.count)
        for point in heard.points("gen_ai.client.token.usage")
    }
    assert tokens == {"input": (210, 2), "output": (96, 2)}
    (duration,) = heard.points("gen_ai.client.operation.duration")
    assert duration.count == 2  # the third was answered by the cache
    (cost,) = heard.points("obc_ai.cost")
    assert cost.value == pytest.approx(float(AIOperation.objects.all().total_cost()))
    assert cost.attributes["obc_ai.module"] == "mana"
    (saved,) = heard.points("obc_ai.saved")
    assert saved.value == pytest.approx(cost.value / 2)
    assert heard.points("gen_ai.client.operation.time_to_first_chunk") == []


def test_histograms_have_the_bounds_of_the_conventions(heard: Heard, scripted: Scripted) -> None:
    scripted(Reply(chunks=["A"], usage=USAGE))
    list(TextService().stream_text("Q"))
    (tokens, *_) = heard.points("gen_ai.client.token.usage")
    assert tokens.explicit_bounds == (
        1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864,
    )  # fmt: skip
    for name in ("duration", "time_to_first_chunk"):
        (point,) = heard.points(f"gen_ai.client.operation.{name}")
        assert point.explicit_bounds == tuple(0.01 * 2**power for power in range(14))


def test_a_cached_answer_says_what_it_saved(heard: Heard, scripted: Scripted) -> None:
    scripted(Reply("A", usage=USAGE))
    for _ in range(2):
        TextService().generate_text("Q")
    paid, cached = (dict(each.attributes or {}) for each in heard.spans)
    assert (cached["obc_ai.cached"], cached["obc_ai.attempts"]) == (True, 0)
    assert cached["obc_ai.saved_usd"] == paid["obc_ai.cost_usd"] > 0


def test_a_failure_has_its_category_and_its_attempts(
    heard: Heard, scripted: Scripted, waits: list[float]
) -> None:
    scripted(
        *[RateLimitError("Busy.", retry_after_seconds=2.5) for _ in range(3)],
        RETRY={"attempts": 3},
    )
    TextService().generate_text("Q")
    span, found = heard.span(CHAT), attributes(heard)
    assert (found["error.type"], found["obc_ai.attempts"]) == ("rate_limited", 3)
    assert found["obc_ai.retry_after_seconds"] == 2.5
    assert "gen_ai.response.finish_reasons" not in found
    assert span.status.status_code.name == "ERROR"
    assert span.events == ()  # no message, no trace of the stack
    (duration,) = heard.points("gen_ai.client.operation.duration")
    assert duration.attributes["error.type"] == "rate_limited"
    assert len(waits) == 2


def test_a_refusal_names_the_budget_without_its_value(heard: Heard, scripted: Scripted) -> None:
    budget = {"scope": "module", "key": "mana", "period": "day", "limit_usd": "0.00001"}
    scripted("A", BUDGETS=[budget])
    TextService().generate_text("Q", module="mana")
    found = attributes(heard)
    assert found["error.type"] == "budget_exceeded"
    assert {name: found[f"obc_ai.budget.{name}"] for name in ("scope", "period", "unit")} == {
        "scope": "module", "period": "day", "unit": "usd",
    }  # fmt: skip
    assert (found["obc_ai.budget.limit"], found["obc_ai.budget.spent"]) == (0.00001, 0.0)


def test_a_provider_that_is_not_there_is_a_span_too(heard: Heard) -> None:
    TextService("nowhere").generate_text("Q")
    assert attributes(heard, "chat")["error.type"] == "configuration"


def test_the_offline_provider_is_no_remote_service(heard: Heard) -> None:
    TextService().generate_text("Q")
    (span,) = heard.spans
    assert span.kind.name == "INTERNAL"
    assert (span.attributes or {})["gen_ai.provider.name"] == "obc_ai.offline"


def test_what_a_provider_begins_is_inside_the_call(heard: Heard, scripted: Scripted) -> None:
    def answer(request: Any) -> Reply:
        with telemetry.spanning("http", {}):
            return Reply("A", usage=USAGE)

    scripted(answer)
    with telemetry.spanning("request", {}):
        TextService().generate_text("Q")
    assert heard.tree() == {"http": CHAT, CHAT: "request", "request": None}


# --- streams -----------------------------------------------------------------------------------
def test_the_span_of_a_stream_ends_with_it_and_is_never_current_outside(
    heard: Heard, scripted: Scripted
) -> None:
    scripted(Reply(chunks=["One ", "two"], usage=USAGE))
    with telemetry.spanning("request", {}):
        stream = TextService().stream_text("Q")
        next(stream)
        with telemetry.spanning("between", {}):
            assert [each.name for each in heard.spans] == []
        list(stream)
    assert heard.tree() == {"between": "request", CHAT: "request", "request": None}
    found = attributes(heard)
    assert found["gen_ai.request.stream"] is True
    assert found["gen_ai.response.time_to_first_chunk"] >= 0
    (first,) = heard.points("gen_ai.client.operation.time_to_first_chunk")
    assert first.count == 1


def test_a_stream_that_nobody_reads_to_its_end_is_interrupted(
    heard: Heard, scripted: Scripted
) -> None:
    scripted(Reply(chunks=["One ", "two"], usage=USAGE))
    with TextService().stream_text("Q") as stream:
        next(stream)
    assert attributes(heard)["error.type"] == "stream_interrupted"


def test_a_stream_that_breaks_off_is_an_error(heard: Heard, scripted: Scripted) -> None:
    scripted(CutStream(chunks=["One ", "two"], usage=USAGE))
    with pytest.raises(StreamInterruptedError):
        list(TextService().stream_text("Q"))
    assert attributes(heard)["error.type"] == "stream_interrupted"


def test_a_stream_that_was_never_begun_has_no_span(heard: Heard, scripted: Scripted) -> None:
    scripted(Reply(chunks=["One"]))
    TextService().stream_text("Q").close()
    assert heard.spans == ()


# --- async -------------------------------------------------------------------------------------
def test_awaited_calls_belong_to_who_awaits_them(heard: Heard, scripted: Scripted) -> None:
    scripted(*[Reply("A", usage=USAGE) for _ in range(4)])

    async def one(number: int) -> None:
        with telemetry.spanning(f"request {number}", {}):
            await TextService().agenerate_text(f"Q{number}")

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(4)))

    run_async(main())
    parents = {each.context.span_id: each.name for each in heard.spans if each.context}
    calls = [each for each in heard.spans if each.name == CHAT]
    assert sorted(parents[each.parent.span_id] for each in calls if each.parent) == [
        f"request {number}" for number in range(4)
    ]


def test_an_awaited_failure_is_an_error(heard: Heard, scripted: Scripted) -> None:
    scripted(TransientError("Down.", is_possibly_billed=False), RETRY={"attempts": 1})
    run_async(TextService().agenerate_text("Q"))
    assert attributes(heard)["error.type"] == "transient"


@pytest.mark.parametrize("way", ["read", "close", "abandon", "other_task", "cancel"])
def test_an_async_stream_ends_its_span_whoever_closes_it(
    heard: Heard, scripted: Scripted, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    scripted(Reply(chunks=["One ", "two ", "three"], usage=USAGE))

    async def main() -> None:
        stream = TextService().astream_text("Q")
        with telemetry.spanning("request", {}):
            await anext(stream)
            with telemetry.spanning("between", {}):
                pass
        if way == "read":
            assert [piece async for piece in stream] == ["two ", "three"]
        elif way == "close":
            await stream.aclose()
        elif way == "other_task":
            await asyncio.create_task(stream.aclose())
        elif way == "cancel":
            task = asyncio.create_task(_read_slowly(stream))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await stream.aclose()
        else:
            del stream
            gc.collect()
            for _ in range(100):
                if heard.tree().get(CHAT):
                    break
                await asyncio.sleep(0.02)

    with caplog.at_level(logging.DEBUG):
        run_async(main())
    assert heard.tree()[CHAT] == heard.tree()["between"] == "request"
    assert not [each for each in caplog.records if each.name.startswith("opentelemetry")]
    assert ("error.type" in attributes(heard)) == (way != "read")


async def _read_slowly(stream: Any) -> None:
    async for _ in stream:
        await asyncio.sleep(60)


def test_a_thread_of_an_awaited_call_is_inside_its_span(heard: Heard, scripted: Scripted) -> None:
    def answer(request: Any) -> Reply:
        with telemetry.spanning("http", {}):
            return Reply("A", usage=USAGE)

    scripted(answer)

    async def main() -> None:
        with telemetry.spanning("request", {}):
            await TextService().agenerate_text("Q")
            await sync_to_async(lambda: None)()

    run_async(main())
    assert heard.tree() == {"http": CHAT, CHAT: "request", "request": None}
