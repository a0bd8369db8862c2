from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.test import SimpleTestCase, override_settings

from django_obc_ai.backends.providers import providers
from django_obc_ai.backends.providers.base import BaseProvider
from django_obc_ai.exceptions import (
    BadResponseError,
    RateLimitError,
    StreamInterruptedError,
    TransientError,
)
from django_obc_ai.testing.provider import CutStream, Reply, ScriptedProvider
from django_obc_ai.testing.provider_contract import ProviderContract
from django_obc_ai.types import GenerationRequest, StreamChunk, Usage

ASK = GenerationRequest(prompt="Where is the coast?")
USAGE = Usage(input_tokens=7, output_tokens=5, thinking_tokens=2)


def answer_anything(request: GenerationRequest) -> str:
    if request.response_schema is None:
        return f"The answer to {request.prompt!r} is here."
    return json.dumps(
        {"summary": "", "setting": "coastal", "population": 0, "is_urban": False, "places": ["a"]}
    )


class ScriptedProviderContractTests(ProviderContract, SimpleTestCase):
    def make_provider(self) -> BaseProvider:
        return ScriptedProvider(script=answer_anything, repeat_last=True)

    def make_failing_provider(self) -> BaseProvider:
        return ScriptedProvider(
            script=[RateLimitError(retry_after_seconds=3.0, usage=USAGE), CutStream(["a"], USAGE)]
        )


async def collect(provider: BaseProvider) -> list[StreamChunk]:
    return [chunk async for chunk in provider.astream(ASK)]


# --- items -----------------------------------------------------------------------------------


def test_items_answer_in_order_and_requests_are_recorded() -> None:
    provider = ScriptedProvider(script=["one", Reply("two")])
    other = GenerationRequest(prompt="And the port?")
    assert provider.call_count == 0
    assert [provider.generate(ASK).text, provider.generate(other).text] == ["one", "two"]
    assert provider.requests == [ASK, other]
    assert provider.call_count == 2


def test_reply_sets_every_part_of_the_response() -> None:
    reply = Reply("Blocked", usage=USAGE, finish_reason="blocked", model="gemini-x")
    response = ScriptedProvider(script=reply).generate(ASK)
    assert response.text == "Blocked"
    assert response.usage is USAGE
    assert response.finish_reason == "blocked"
    assert response.model == "gemini-x"


def test_reply_without_usage_counts_its_tokens() -> None:
    response = ScriptedProvider(script="Illana Bay.").generate(ASK)
    assert response.usage == Usage(input_tokens=5, output_tokens=3)
    assert response.model == "scripted"
    assert response.finish_reason == "stop"


def test_model_is_the_one_asked_for_or_else_the_providers_own() -> None:
    provider = ScriptedProvider(script="x", repeat_last=True, model="mine")
    assert provider.generate(ASK).model == "mine"
    assert provider.generate(GenerationRequest(prompt="?", model="other")).model == "other"


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (RateLimitError("slow down", retry_after_seconds=2.0), RateLimitError),
        (TransientError, TransientError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (lambda request: BadResponseError(), BadResponseError),
        (CutStream(["a"]), StreamInterruptedError),
    ],
)
def test_faults_are_raised_by_every_way_of_calling(item: Any, kind: type[BaseException]) -> None:
    provider = ScriptedProvider(script=item, repeat_last=True)
    for call in (
        lambda: provider.generate(ASK),
        lambda: list(provider.stream(ASK)),
        lambda: asyncio.run(provider.agenerate(ASK)),
        lambda: asyncio.run(collect(provider)),
    ):
        with pytest.raises(kind):
            call()
    assert provider.call_count == 4


def test_scripted_error_is_raised_as_it_is() -> None:
    error = RateLimitError("slow down", retry_after_seconds=2.0)
    with pytest.raises(RateLimitError) as caught:
        ScriptedProvider(script=[error]).generate(ASK)
    assert caught.value is error


def test_callable_sees_the_request_and_may_return_another_callable() -> None:
    provider = ScriptedProvider(script=[lambda request: lambda again: Reply(again.prompt * 2)])
    assert provider.generate(ASK).text == ASK.prompt * 2


def test_item_of_another_kind_is_a_mistake_in_the_test() -> None:
    with pytest.raises(TypeError, match="not int"):
        ScriptedProvider(script=[3]).generate(ASK)


@pytest.mark.parametrize(
    ("script", "held"), [((), 0), ([], 0), (["a"], 1), ("a", 1), (("a", "b"), 2)]
)
def test_end_of_the_script_fails_the_test_with_the_number_of_the_call(
    script: Any, held: int
) -> None:
    provider = ScriptedProvider(script=script)
    for _ in range(held):
        provider.generate(ASK)
    with pytest.raises(AssertionError, match=f"holds {held} replies and this is call {held + 1}"):
        provider.generate(ASK)
    assert provider.call_count == held + 1


def test_last_item_repeats_if_asked_to() -> None:
    provider = ScriptedProvider(script=["a", "b"], repeat_last=True)
    assert [provider.generate(ASK).text for _ in range(4)] == ["a", "b", "b", "b"]
    with pytest.raises(AssertionError, match="holds 0 replies"):
        ScriptedProvider(script=[], repeat_last=True).generate(ASK)


def test_script_of_the_caller_is_not_shared() -> None:
    script = ["a"]
    provider = ScriptedProvider(script=script)
    script.append("b")
    provider.generate(ASK)
    with pytest.raises(AssertionError):
        provider.generate(ASK)


# --- streams ---------------------------------------------------------------------------------


def test_stream_gives_the_chunks_of_the_reply() -> None:
    reply = Reply(chunks=["Illana ", "", "Bay"], usage=USAGE, model="m")
    assert reply.text == "Illana Bay"
    assert list(ScriptedProvider(script=reply).stream(ASK)) == [
        StreamChunk(text="Illana ", model="m"),
        StreamChunk(text="", model="m"),
        StreamChunk(text="Bay", model="m", usage=USAGE, finish_reason="stop"),
    ]


def test_stream_of_a_text_goes_word_by_word() -> None:
    chunks = list(ScriptedProvider(script="Illana Bay, here").stream(ASK))
    assert [chunk.text for chunk in chunks] == ["Illana ", "Bay, ", "here"]
    assert [chunk.finish_reason for chunk in chunks] == [None, None, "stop"]


@pytest.mark.parametrize("reply", [Reply(), Reply(chunks=[])])
def test_empty_reply_streams_one_empty_last_chunk(reply: Reply) -> None:
    (chunk,) = ScriptedProvider(script=reply).stream(ASK)
    assert chunk.text == ""
    assert chunk.finish_reason == "stop"


def test_chunks_that_do_not_join_to_the_text_are_refused() -> None:
    with pytest.raises(ValueError, match="do not join"):
        Reply("one", chunks=["two"])
    assert Reply("one", chunks=["o", "ne"]).text == "one"


def test_cut_stream_gives_its_chunks_and_usage_and_then_breaks_off() -> None:
    provider = ScriptedProvider(script=CutStream(["a", "b"], USAGE), repeat_last=True)
    stream = provider.stream(ASK)
    assert [next(stream), next(stream)] == [
        StreamChunk(text="a", model="scripted"),
        StreamChunk(text="b", model="scripted", usage=USAGE),
    ]
    with pytest.raises(StreamInterruptedError) as caught:
        next(stream)
    assert caught.value.usage is USAGE
    with pytest.raises(StreamInterruptedError):
        provider.generate(ASK)
    with pytest.raises(StreamInterruptedError):
        list(ScriptedProvider(script=CutStream()).stream(ASK))


def test_stream_takes_its_item_when_it_is_first_iterated() -> None:
    provider = ScriptedProvider(script=["a", "b"])
    stream = provider.stream(ASK)
    assert provider.call_count == 0
    assert provider.generate(ASK).text == "a"
    assert "".join(chunk.text for chunk in stream) == "b"


def test_async_stream_is_the_stream() -> None:
    provider = ScriptedProvider(script=Reply(chunks=["a", "b"], usage=USAGE), repeat_last=True)
    assert asyncio.run(collect(provider)) == list(provider.stream(ASK))


# --- bounds, waiting, threads, settings --------------------------------------------------


@pytest.mark.parametrize("chunks", [None, ["one ", "two thr", "ee", " four"]])
def test_answers_are_cut_at_max_output_tokens(chunks: list[str] | None) -> None:
    reply = Reply("one two three four", chunks=chunks)
    provider = ScriptedProvider(script=reply, repeat_last=True, max_output_tokens=3)
    response = provider.generate(ASK)
    assert response.text == "one two three"
    assert response.finish_reason == "length"
    assert response.usage.output_tokens == 3
    streamed = list(provider.stream(ASK))
    assert "".join(chunk.text for chunk in streamed) == "one two three"
    assert streamed[-1].finish_reason == "length"
    wide = GenerationRequest(prompt="?", max_output_tokens=10)
    assert provider.generate(wide).finish_reason == "stop"


def test_reason_of_the_script_outlives_a_cut() -> None:
    reply = Reply("one two", finish_reason="blocked")
    response = ScriptedProvider(script=reply, max_output_tokens=1).generate(ASK)
    assert (response.text, response.finish_reason) == ("one", "blocked")


def test_delay_is_waited_before_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    provider = ScriptedProvider(script=Reply("a", delay_seconds=2.5), repeat_last=True)
    provider.generate(ASK)
    next(provider.stream(ASK))
    next(ScriptedProvider(script=CutStream(["a"], delay_seconds=4.0)).stream(ASK))
    assert waited == [2.5, 2.5, 4.0]


def test_async_delay_leaves_the_loop_free() -> None:
    provider = ScriptedProvider(script=Reply("a", delay_seconds=0.05), repeat_last=True)

    async def race() -> list[str]:
        done: list[str] = []

        async def call() -> None:
            await provider.agenerate(ASK)
            done.append("provider")

        async def tick() -> None:
            await asyncio.sleep(0)
            done.append("loop")

        await asyncio.gather(call(), tick())
        return done

    assert asyncio.run(race()) == ["loop", "provider"]


def test_blocking_callable_does_not_hold_up_the_loop() -> None:
    both = threading.Barrier(2)

    def meet(request: GenerationRequest) -> str:
        both.wait(timeout=30)
        return "met"

    provider = ScriptedProvider(script=meet, repeat_last=True)

    async def call_twice() -> list[str]:
        responses = await asyncio.gather(provider.agenerate(ASK), provider.agenerate(ASK))
        return [response.text for response in responses]

    assert asyncio.run(call_twice()) == ["met", "met"]


def test_each_item_serves_one_of_many_threads() -> None:
    texts = [str(number) for number in range(200)]
    provider = ScriptedProvider(script=texts)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: provider.generate(ASK).text, texts))
    assert sorted(found) == sorted(texts)
    assert provider.call_count == 200


def test_capabilities_follow_the_options() -> None:
    assert not ScriptedProvider().is_free
    assert ScriptedProvider.is_free is False
    provider = ScriptedProvider(is_free=True, generation_options=["top_p"])
    assert provider.is_free
    assert provider.generation_options == {"top_p"}
    assert not provider.is_offline


@override_settings(
    OBC_AI={
        "PROVIDERS": {
            "default": {
                "BACKEND": "django_obc_ai.testing.ScriptedProvider",
                "OPTIONS": {"script": [Reply("from settings"), TransientError()]},
            }
        }
    }
)
def test_script_comes_from_settings() -> None:
    provider = providers["default"]
    assert provider.generate(ASK).text == "from settings"
    with pytest.raises(TransientError):
        provider.generate(ASK)
