"""What the OpenAI-compatible provider reports as used, in each shape that services send."""

from __future__ import annotations

from typing import Any

import pytest

from django_obc_ai.backends.providers._openai import usage_of
from django_obc_ai.exceptions import BadResponseError
from django_obc_ai.types import EmbeddingRequest, Usage
from tests.backends.conftest import MakeProvider
from tests.backends.ways import STREAMED, WAYS, run
from tests.extras import requires
from tests.servers.chat_completions import ChatCompletionsServer, Reply


@requires("openai")
@pytest.mark.parametrize("way", WAYS)
def test_counts_are_what_the_service_bills(
    make_openai: MakeProvider, chat_completions_server: ChatCompletionsServer, way: str
) -> None:
    chat_completions_server.script(Reply(prompt_tokens=500, cached=384, reasoning=40))
    usage = run(make_openai(), way).usage
    assert usage is not None and usage.is_exact
    found = (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.thinking_tokens)
    assert found == chat_completions_server.journal[0].billed
    assert found[:2] == (500, 384) and found[3] == 40


@requires("openai")
@pytest.mark.parametrize("way", WAYS)
def test_a_count_that_is_missing_is_none_not_zero(
    make_openai: MakeProvider, chat_completions_server: ChatCompletionsServer, way: str
) -> None:
    chat_completions_server.script(Reply(usage=None))
    assert run(make_openai(), way).usage is None


@requires("openai")
@pytest.mark.parametrize("way", WAYS)
def test_the_model_that_answered_is_named(
    make_openai: MakeProvider, chat_completions_server: ChatCompletionsServer, way: str
) -> None:
    chat_completions_server.script(Reply(model="small-2026-08-01"))
    assert run(make_openai(), way).model == "small-2026-08-01"


@requires("openai")
def test_vectors_that_do_not_fit_the_texts_are_not_used(
    make_openai: MakeProvider, chat_completions_server: ChatCompletionsServer
) -> None:
    chat_completions_server.script(Reply(indices=(0, 0)))
    with pytest.raises(BadResponseError):
        make_openai().embed(EmbeddingRequest(texts=("one", "two"), model="embedder"))


@pytest.mark.parametrize(
    ("found", "usage"),
    [
        (None, None),
        ({}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": "7"}, None),
        # As OpenAI counts: reasoning inside of completion.
        (
            {
                "prompt_tokens": 10, "completion_tokens": 30, "total_tokens": 40,
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            Usage(input_tokens=10, output_tokens=10, thinking_tokens=20),
        ),
        # As some count that translate from Gemini: reasoning beside it.
        (
            {
                "prompt_tokens": 10, "completion_tokens": 30, "total_tokens": 60,
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            Usage(input_tokens=10, output_tokens=30, thinking_tokens=20),
        ),
        # Reasoning in the total alone.
        (
            {"prompt_tokens": 10, "completion_tokens": 30, "total_tokens": 100},
            Usage(input_tokens=10, output_tokens=30, thinking_tokens=60, is_exact=False),
        ),
        # A total below its parts.
        (
            {"prompt_tokens": 10, "completion_tokens": 30, "total_tokens": 5},
            Usage(input_tokens=10, output_tokens=30, is_exact=False),
        ),
        # No total, as from Ollama's older releases.
        (
            {"prompt_tokens": 10, "completion_tokens": 30},
            Usage(input_tokens=10, output_tokens=30),
        ),
        # More cached than there was.
        (
            {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11,
             "prompt_tokens_details": {"cached_tokens": 50}},
            Usage(input_tokens=50, cached_tokens=50, output_tokens=1, is_exact=False),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11,
             "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 5}},
            Usage(input_tokens=10, cached_tokens=4, audio_tokens=5, output_tokens=1),
        ),
        ({"prompt_tokens": 4, "total_tokens": 4}, Usage(input_tokens=4)),
    ],
)  # fmt: skip
def test_shapes_of_usage(found: Any, usage: Usage | None) -> None:
    assert usage_of(found) == usage


@requires("openai")
@pytest.mark.parametrize("way", STREAMED)
def test_counts_that_fall_in_a_stream_are_not_believed(
    make_openai: MakeProvider, chat_completions_server: ChatCompletionsServer, way: str
) -> None:
    early = {"prompt_tokens": 500, "completion_tokens": 450, "total_tokens": 950,
             "prompt_tokens_details": {"cached_tokens": 384}}  # fmt: skip
    late = {"prompt_tokens": 500, "completion_tokens": 2, "total_tokens": 502}
    chat_completions_server.script(
        Reply("word " * 450, piece_usage=early, usage=late | {"prompt_tokens_details": None})
    )
    usage = run(make_openai(), way).usage
    assert usage == Usage(input_tokens=500, output_tokens=450, is_exact=False)


def test_counts_that_rise_in_a_stream_stay_exact() -> None:
    early = Usage(input_tokens=9, output_tokens=1, is_exact=False)
    late = Usage(input_tokens=9, cached_tokens=4, output_tokens=7)
    assert late.after(early) == late.after(None) == late
