"""The server that stands for Google's answers as it does, and bills what it says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers.gemini import (
    BilledTokens,
    GeminiServer,
    key_id,
    replies,
)
from tests.servers.gemini.client import BODY, MODEL, Client, connect, text_of

EMBEDDER = "gemini-embedding-001"


@pytest.fixture
def client(gemini_server: GeminiServer) -> Iterator[Client]:
    with connect(gemini_server.url) as client:
        yield client


# --- Answers --------------------------------------------------------------------------------


def test_answer_repeats_and_is_billed_as_reported(
    gemini_server: GeminiServer, client: Client
) -> None:
    status, first = client.generate()
    assert status == 200
    assert text_of(client.generate()[1]) == text_of(first) != ""
    usage = first["usageMetadata"]
    candidates = -(-len(text_of(first)) // 4)
    assert usage["promptTokenCount"] == 5 and usage["candidatesTokenCount"] == candidates
    assert usage["totalTokenCount"] == 5 + candidates
    assert first["candidates"][0]["finishReason"] == "STOP"
    assert gemini_server.billed() == {MODEL: BilledTokens(prompt=10, candidates=2 * candidates)}


def test_journal_tells_when_by_a_clock_that_nobody_sets(
    gemini_server: GeminiServer, client: Client
) -> None:
    before = time.monotonic()
    client.generate()
    between = time.monotonic()
    client.generate()
    first, second = (entry.started for entry in gemini_server.journal)
    assert before < first < between < second < time.monotonic()


def test_journal_tells_who_asked_what_and_keeps_no_key(
    gemini_server: GeminiServer, client: Client
) -> None:
    client.generate(model="gemini-flash-latest", query="?$alt=json;enum-encoding=int")
    (entry,) = gemini_server.journal
    assert (entry.number, entry.operation, entry.model) == (
        1,
        "generateContent",
        "gemini-flash-latest",
    )
    assert entry.model_version == "gemini-3.8-flash" and entry.api_version == "v1beta"
    assert entry.key_id == key_id("loopback-key") and entry.body == BODY
    assert entry.is_finished and entry.is_complete and entry.is_billed and not entry.client_left
    assert "loopback-key" not in repr(entry)
    with connect(gemini_server.url, key="loopback-key-2") as second:
        second.generate()
    assert len({each.key_id for each in gemini_server.journal}) == 2


def test_every_bucket_is_counted(gemini_server: GeminiServer, client: Client) -> None:
    reply = replies.answer("12345678", thoughts_tokens=30, cached_tokens=2, tool_tokens=7)
    gemini_server.script(reply)
    usage = client.generate()[1]["usageMetadata"]
    del usage["promptTokensDetails"]
    assert usage == {
        "promptTokenCount": 5,
        "cachedContentTokenCount": 2,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 30,
        "toolUsePromptTokenCount": 7,
        "totalTokenCount": 44,
    }
    (entry,) = gemini_server.journal
    assert entry.billed == BilledTokens(prompt=5, cached=2, candidates=2, thoughts=30, tool=7)
    assert entry.billed.total == 44


def test_output_limit_covers_thoughts_first(gemini_server: GeminiServer, client: Client) -> None:
    for thoughts in (0, 3, 8, 50):
        gemini_server.script(replies.answer(thoughts_tokens=thoughts))
    answers = [client.answer(maxOutputTokens=8) for _ in range(4)]
    assert [len(text_of(answer)) for answer in answers] == [32, 20, 0, 0]
    assert {answer["candidates"][0]["finishReason"] for answer in answers} == {"MAX_TOKENS"}
    assert all(
        entry.billed.candidates + entry.billed.thoughts == 8 for entry in gemini_server.journal
    )


def test_thinking_budget_bounds_thoughts(gemini_server: GeminiServer, client: Client) -> None:
    gemini_server.script(replies.answer(thoughts_tokens=30), is_repeated=True)
    for budget, billed in ((0, 0), (10, 10), (-1, 30)):
        client.answer(thinkingConfig={"thinking_budget": budget})
        assert gemini_server.journal[-1].billed.thoughts == billed


def test_blocked_prompt_has_no_candidate_and_is_billed(
    gemini_server: GeminiServer, client: Client
) -> None:
    gemini_server.script(replies.blocked_prompt("PROHIBITED_CONTENT"))
    _, answer = client.generate()
    assert "candidates" not in answer
    assert answer["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"
    assert gemini_server.billed() == {MODEL: BilledTokens(prompt=5)}


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "MALFORMED_FUNCTION_CALL", "LANGUAGE"])
def test_refused_answer_has_no_content(
    reason: str, gemini_server: GeminiServer, client: Client
) -> None:
    gemini_server.script(replies.finished(reason, thoughts_tokens=3))
    candidate = client.generate()[1]["candidates"][0]
    assert candidate["finishReason"] == reason and "content" not in candidate
    assert gemini_server.journal[0].billed == BilledTokens(prompt=5, thoughts=3)


def test_old_client_gets_enums_as_numbers(gemini_server: GeminiServer, client: Client) -> None:
    gemini_server.script(replies.finished("MAX_TOKENS"), replies.finished("CONTINUATION"))
    body = {
        **BODY,
        "safety_settings": [{"category": 7, "threshold": 4}],
        "generation_config": {
            "response_mime_type": "application/json",
            "response_schema": {"type": 6, "properties": {"my_name": {"type": 1}}},
        },
    }
    query = "?%24alt=json%3Benum-encoding%3Dint"
    status, answer = client.generate(body, query=query)
    assert status == 200 and json.loads(text_of(answer)) == {"my_name": "text"}
    assert answer["candidates"][0]["finishReason"] == 2
    assert client.generate(query=query)[1]["candidates"][0]["finishReason"] == 99


def test_schema_is_answered_with_fitting_json(client: Client) -> None:
    schema = {
        "$defs": {"Place": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "type": "object",
        "properties": {
            "kind": {"enum": ["coastal", "inland"]},
            "places": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/Place"}},
            "count": {"type": ["null", "integer"], "minimum": 4},
            "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        },
    }
    answer = client.answer(responseMimeType="application/json", responseJsonSchema=schema)
    place = {"name": "text"}
    expected = {"kind": "coastal", "places": [place, place], "count": 4, "note": "text"}
    assert json.loads(text_of(answer)) == expected


def test_function_call_is_sent_and_counted(gemini_server: GeminiServer, client: Client) -> None:
    gemini_server.script(replies.answer(function_calls=[{"name": "find", "args": {"a_b": 1}}]))
    _, answer = client.generate(model="gemini-3.8-flash")
    (part,) = answer["candidates"][0]["content"]["parts"]
    assert part["functionCall"] == {"name": "find", "args": {"a_b": 1}}
    assert part["thoughtSignature"]
    assert gemini_server.journal[0].billed.candidates > 0


def test_usage_may_be_left_out_or_wrong_and_the_bill_stays(
    gemini_server: GeminiServer, client: Client
) -> None:
    gemini_server.script(
        replies.answer("1234"),
        replies.answer("1234", usage="missing"),
        replies.usage_zero(text="1234"),
        replies.usage_contradictory(3, text="1234"),
        replies.answer("1234", usage_fields={"promptTokenCount": -3, "totalTokenCount": None}),
    )
    seen = [client.generate()[1].get("usageMetadata") for _ in range(5)]
    assert seen[1] is None
    assert [usage.get("totalTokenCount") for usage in seen if usage] == [6, 0, 3, None]
    assert [entry.reported for entry in gemini_server.journal] == seen
    assert {entry.billed for entry in gemini_server.journal} == {
        BilledTokens(prompt=5, candidates=1)
    }


# --- Streams --------------------------------------------------------------------------------


def test_stream_as_events_has_cumulative_usage(gemini_server: GeminiServer, client: Client) -> None:
    gemini_server.script(replies.answer("x" * 40, chunks=5, thoughts_tokens=9))
    chunks = client.stream()
    assert [chunk["usageMetadata"]["candidatesTokenCount"] for chunk in chunks] == [2, 4, 6, 8, 10]
    assert {chunk["usageMetadata"]["thoughtsTokenCount"] for chunk in chunks} == {9}
    reasons = [chunk["candidates"][0].get("finishReason") for chunk in chunks]
    assert reasons == [None] * 4 + ["STOP"]
    (entry,) = gemini_server.journal
    assert entry.chunks_sent == 5
    assert entry.billed == BilledTokens(prompt=5, candidates=10, thoughts=9)


def test_stream_without_sse_is_one_json_array(client: Client) -> None:
    chunks = json.loads(client.open_stream(sse=False).read())
    assert len(chunks) == 4
    assert "".join(map(text_of, chunks)) == text_of(client.generate()[1])


@pytest.mark.parametrize(
    ("usage", "sent"), [("last_only", [0, 0, 1]), ("not_last", [1, 1, 0]), ("missing", [0, 0, 0])]
)
def test_stream_may_send_usage_in_some_chunks(
    usage: Any, sent: list[int], gemini_server: GeminiServer, client: Client
) -> None:
    gemini_server.script(replies.answer(chunks=3, usage=usage))
    assert ["usageMetadata" in chunk for chunk in client.stream()] == sent


# --- Counting, embeddings, models -----------------------------------------------------------


def test_tokens_are_counted_in_both_forms_for_free(
    gemini_server: GeminiServer, client: Client
) -> None:
    path = f"/v1beta/models/{MODEL}:countTokens"
    assert client.call("POST", path, BODY)[1]["totalTokens"] == 5
    inner = {
        **BODY,
        "model": f"models/{MODEL}",
        "systemInstruction": {"parts": [{"text": "x" * 9}]},
    }
    status, answer = client.call("POST", path, {"generateContentRequest": inner})
    assert (status, answer["totalTokens"]) == (200, 8)
    assert gemini_server.billed() == {}
    del inner["model"]
    assert client.generate(inner)[1]["usageMetadata"]["promptTokenCount"] == 8


def test_embeddings_repeat_and_tell_texts_apart(
    gemini_server: GeminiServer, client: Client
) -> None:
    def embed(text: str, **more: Any) -> list[float]:
        body = {"content": {"parts": [{"text": text}]}, **more}
        answer = client.call("POST", f"/v1beta/models/{EMBEDDER}:embedContent", body)[1]
        return answer["embedding"]["values"]  # type: ignore[no-any-return]

    coast, again, other = embed("the long coast"), embed("The coast, long"), embed("zebra")
    assert len(coast) == 3072 and sum(x * x for x in coast) == pytest.approx(1, abs=1e-3)
    assert coast == again
    assert sum(x * y for x, y in zip(coast, other, strict=True)) < 0.2
    short = embed("the long coast", output_dimensionality=128, taskType=2)
    assert short == coast[:128]
    assert gemini_server.billed()[EMBEDDER] == BilledTokens(prompt=4 + 4 + 2 + 4)


def test_batch_of_embeddings_keeps_its_order_and_its_limit(
    gemini_server: GeminiServer, client: Client
) -> None:
    def requests(count: int) -> dict[str, Any]:
        content = [{"parts": [{"text": f"n{number}"}]} for number in range(count)]
        model = {"model": f"models/{EMBEDDER}", "outputDimensionality": 8}
        return {"requests": [{**model, "content": each} for each in content]}

    path = f"/v1/models/{EMBEDDER}:batchEmbedContents"
    status, answer = client.call("POST", path, requests(100))
    vectors = [tuple(each["values"]) for each in answer["embeddings"]]
    assert status == 200 and len(set(vectors)) == 100
    assert answer["usageMetadata"]["promptTokenCount"] == 100
    assert tuple(client.call("POST", path, requests(1))[1]["embeddings"][0]["values"]) == vectors[0]
    assert client.call("POST", path, requests(101))[0] == 400
    assert [entry.billed.prompt for entry in gemini_server.journal] == [100, 1, 0]


def test_models_are_listed_and_described(client: Client) -> None:
    names, page = [], ""
    while True:
        _, answer = client.call("GET", f"/v1beta/models?pageSize=7{page}")
        names += [model["name"] for model in answer["models"]]
        if "nextPageToken" not in answer:
            break
        page = f"&pageToken={answer['nextPageToken']}"
    assert len(names) == len(set(names)) > 14
    assert client.call("GET", f"/v1/{names[0]}")[1]["name"] == names[0]
    assert client.call("GET", "/v1/models/no-such")[0] == 404
