"""The server that stands for Google's fails as it is told to, and bills that as documented."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.servers.gemini import BilledTokens, GeminiServer, closed_port, replies
from tests.servers.gemini.client import BODY, MODEL, Client, connect

EMBEDDER = "gemini-embedding-001"


@pytest.fixture
def client(gemini_server: GeminiServer) -> Iterator[Client]:
    with connect(gemini_server.url) as client:
        yield client


# --- Streams that break off ------------------------------------------------------------------


@pytest.mark.parametrize("sse", [True, False])
@pytest.mark.parametrize("how", ["clean", "rst", "fin", "error"])
def test_cut_stream_bills_what_was_sent(
    how: Any, sse: bool, gemini_server: GeminiServer, client: Client
) -> None:
    gemini_server.script(replies.cut(how, 2, text="x" * 40, chunks=5))
    response, data = client.open_stream(sse=sse), b""
    expected = {"rst": ConnectionResetError, "fin": http.client.IncompleteRead}.get(how)
    with closing(response), pytest.raises(expected) if expected else nullcontext():
        while piece := response.read1():
            data += piece
    assert data.count(b'"text"') == 2 and b"finishReason" not in data
    assert (b'"error"' in data) == (how == "error")
    (entry,) = gemini_server.journal
    assert entry.billed == BilledTokens(prompt=5, candidates=4) and not entry.is_complete
    assert entry.reported is not None and entry.reported["totalTokenCount"] == 9


def test_stream_that_the_client_leaves_bills_what_it_got(
    gemini_server: GeminiServer, client: Client
) -> None:
    gemini_server.script(replies.cut("hang", 3, text="x" * 40, chunks=5))
    response, data = client.open_stream(), b""
    while data.count(b'"text"') < 3:
        data += response.read1()
    response.close()
    client.http.close()
    (entry,) = gemini_server.journal
    assert entry.client_left and entry.is_finished
    assert entry.billed == BilledTokens(prompt=5, candidates=6)


def test_stream_stops_between_chunks_when_the_client_leaves(
    gemini_server: GeminiServer, client: Client
) -> None:
    gemini_server.script(replies.answer(chunks=4, chunk_interval_seconds=0.3))
    response = client.open_stream()
    response.read1()
    response.close()
    client.http.close()
    (entry,) = gemini_server.journal
    assert entry.client_left and entry.chunks_sent == 1 and not entry.is_complete


# --- Refusals and broken answers ------------------------------------------------------------

STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def test_scripted_refusals_bill_nothing(gemini_server: GeminiServer, client: Client) -> None:
    for status, name in STATUSES.items():
        gemini_server.script(replies.error(status))
        found, answer = client.generate()
        assert (found, answer["error"]["code"], answer["error"]["status"]) == (status, status, name)
    gemini_server.script(replies.error(502))
    response = client.open("POST", f"/v1/models/{MODEL}:generateContent", BODY)
    assert response.status == 502 and response.read().startswith(b"<!DOCTYPE html>")
    assert gemini_server.billed() == {}


def test_rate_limit_names_quota_and_delay(gemini_server: GeminiServer, client: Client) -> None:
    gemini_server.script(replies.rate_limited("7s"), replies.daily_quota())
    for period, delay in (("PerMinute", "7s"), ("PerDay", "53s")):
        _, answer = client.generate()
        details = {each["@type"].rpartition(".")[2]: each for each in answer["error"]["details"]}
        assert period in details["QuotaFailure"]["violations"][0]["quotaId"]
        assert details["RetryInfo"]["retryDelay"] == delay


def test_refused_stream_is_an_array_unless_it_asked_for_events(
    gemini_server: GeminiServer, client: Client
) -> None:
    gemini_server.script(replies.error(503), is_repeated=True)
    assert json.loads(client.open_stream(sse=False).read())[0]["error"]["code"] == 503
    assert json.loads(client.open_stream().read())["error"]["code"] == 503


def test_keys_come_in_the_header_alone(gemini_server: GeminiServer, client: Client) -> None:
    with (
        connect(gemini_server.url, key="bad-key-7") as bad,
        connect(gemini_server.url, key="") as without,
    ):
        status, answer = bad.generate()
        assert status == 400 and answer["error"]["details"][0]["reason"] == "API_KEY_INVALID"
        assert without.generate()[0] == 403
    assert client.generate(query="?key=secret-key")[0] == 400
    assert "secret-key" not in repr(gemini_server.journal)
    assert gemini_server.billed() == {}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        [],
        {"contents": []},
        {"contents": [{"parts": [{"text": ""}]}]},
        {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]},
        {**BODY, "prompt": "x"},
        {**BODY, "generationConfig": {"maxTokens": 5}},
        {**BODY, "generationConfig": {"maxOutputTokens": 0}},
        {**BODY, "generationConfig": {"temperature": 3}},
        {**BODY, "generationConfig": {"responseSchema": {"type": "STRING"}}},
        {
            **BODY,
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseSchema": {"type": "no-such-type"},
            },
        },
    ],
)
def test_request_that_the_service_would_refuse_is_refused(
    body: Any, gemini_server: GeminiServer, client: Client
) -> None:
    gemini_server.script(replies.answer())
    status, answer = client.generate(body)
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert not gemini_server.journal[0].is_billed


def test_unknown_model_is_not_found_unless_added(
    gemini_server: GeminiServer, client: Client
) -> None:
    assert client.generate(model="gemini-9-boron")[0] == 404
    assert client.generate(model=EMBEDDER)[0] == 404
    gemini_server.add_model("gemini-9-boron")
    assert client.generate(model="gemini-9-boron")[0] == 200


@pytest.mark.parametrize(("body", "start"), [("empty", b""), ("broken", b"{"), ("html", b"<!DOC")])
def test_useless_body_is_billed(
    body: Any, start: bytes, gemini_server: GeminiServer, client: Client
) -> None:
    gemini_server.script(replies.broken_body(body), is_repeated=True)
    response = client.open("POST", f"/v1/models/{MODEL}:generateContent", BODY)
    found = response.read()
    assert response.status == 200 and found.startswith(start) and bool(found) == bool(start)
    client.open_stream().read()
    first, second = gemini_server.journal
    assert first.billed == second.billed and first.billed.candidates > 0


@pytest.mark.parametrize(
    ("how", "error", "is_billed"),
    [
        ("rst", ConnectionResetError, True),
        ("fin", http.client.IncompleteRead, True),
        ("no_answer", http.client.RemoteDisconnected, False),
        ("silent", TimeoutError, False),
        ("hang", TimeoutError, True),
    ],
)
def test_cut_answer_is_billed_once_generation_began(
    how: Any, error: type[Exception], is_billed: bool, gemini_server: GeminiServer
) -> None:
    gemini_server.script(replies.cut(how))
    with connect(gemini_server.url, timeout=0.3) as client, pytest.raises(error):
        client.generate()
    (entry,) = gemini_server.journal
    assert entry.is_finished and entry.is_billed == is_billed and not entry.is_complete
    assert entry.client_left == (error is TimeoutError)


def test_reply_may_override_what_is_billed(gemini_server: GeminiServer) -> None:
    gemini_server.script(replies.cut("no_answer", bills=True), replies.cut("fin", bills=False))
    for _ in range(2):
        with connect(gemini_server.url) as client, pytest.raises(http.client.HTTPException):
            client.generate()
    assert [entry.is_billed for entry in gemini_server.journal] == [True, False]


def test_answer_nobody_waits_for_is_billed(gemini_server: GeminiServer) -> None:
    gemini_server.script(replies.answer(delay_seconds=30))
    started = time.monotonic()
    with connect(gemini_server.url, timeout=0.1) as client, pytest.raises(TimeoutError):
        client.generate()
    (entry,) = gemini_server.journal
    assert entry.is_billed and entry.client_left and time.monotonic() - started < 5


def test_drip_outlasts_a_timeout_per_read(gemini_server: GeminiServer) -> None:
    gemini_server.script(replies.answer(drip_bytes=60, drip_interval_seconds=0.15))
    started = time.monotonic()
    with connect(gemini_server.url, timeout=0.5) as client:
        assert client.generate()[0] == 200
    assert time.monotonic() - started > 0.6


def test_closed_port_refuses() -> None:
    with closed_port() as url, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=5)
