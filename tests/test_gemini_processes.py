"""The script, the threads and the processes of the server that stands for Google's."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.gemini import (
    BilledTokens,
    GeminiServer,
    RemoteGemini,
    Reply,
    replies,
    run_gemini,
)
from tests.servers.gemini.client import BODY, MODEL, Client, connect, text_of


@pytest.fixture
def client(gemini_server: GeminiServer) -> Iterator[Client]:
    with connect(gemini_server.url) as client:
        yield client


def test_script_serves_by_marker_then_model_then_order(
    gemini_server: GeminiServer, client: Client
) -> None:
    gemini_server.script(replies.answer("1"), replies.answer("2"))
    gemini_server.script(replies.answer("pro"), model="gemini-2.5-pro", is_repeated=True)
    gemini_server.script(replies.answer("marked"), marker="coast")
    gemini_server.script(replies.error(500), operation="countTokens")
    texts = [text_of(client.generate(model=m)[1]) for m in (MODEL, "gemini-2.5-pro", MODEL, MODEL)]
    assert texts == ["marked", "pro", "1", "2"]
    assert gemini_server.replies_left == 1
    assert [entry.reply for entry in gemini_server.journal] == ["answer"] * 4


def test_script_can_ask_for_two_texts(gemini_server: GeminiServer, client: Client) -> None:
    gemini_server.script(replies.answer("both"), marker="coast", also="schema", is_repeated=True)
    gemini_server.script(replies.answer("else"), is_repeated=True)
    asked = ("coast", "schema", "a schema of the coast")
    bodies = [{"contents": [{"parts": [{"text": text}]}]} for text in asked]
    texts = [text_of(client.generate(body)[1]) for body in bodies]
    assert texts == ["else", "else", "both"]


def test_slim_journal_keeps_what_was_asked_last_and_the_bill(
    gemini_server: GeminiServer, client: Client
) -> None:
    turns = [{"role": role, "parts": [{"text": role}]} for role in ("user", "model", "user")]
    body = {"contents": turns, "systemInstruction": {"parts": [{"text": "Be brief."}]}}
    client.generate(body)
    (whole,) = gemini_server.journal
    gemini_server.load({"is_slim": True})
    client.generate(body)
    slim = gemini_server.journal[1]
    assert whole.body == body and whole.headers
    assert slim.body == {**body, "contents": turns[-1:]} and not slim.headers
    assert slim.billed == whole.billed and slim.is_complete


def test_reply_refuses_what_it_does_not_know() -> None:
    for wrong in ({"cut": "often"}, {"usage": "some"}, {"body": "odd"}, {"error_shape": "round"}):
        with pytest.raises(ValueError, match="is none of"):
            Reply(**wrong)
    reply = replies.rate_limited("3s", delay_seconds=1.5)
    assert Reply.from_json(json.loads(json.dumps(reply.to_json()))) == reply


def test_many_threads_are_answered_and_billed_exactly(gemini_server: GeminiServer) -> None:
    def work(number: int) -> str:
        with connect(gemini_server.url) as client:
            for _ in range(5):
                body = {"contents": [{"parts": [{"text": f"place {number}"}]}]}
                text = text_of(client.generate(body)[1])
        return text

    with ThreadPoolExecutor(20) as pool:
        texts = list(pool.map(work, range(40)))
    entries = gemini_server.journal
    assert len(set(texts)) == 40 and [e.number for e in entries] == list(range(1, 201))
    prompts = sum(5 * -(-len(f"place {number}") // 4) for number in range(40))
    assert gemini_server.billed()[MODEL].prompt == prompts
    assert gemini_server.billed()[MODEL].candidates == sum(5 * -(-len(text) // 4) for text in texts)


def test_reset_lets_waiting_clients_go(gemini_server: GeminiServer) -> None:
    gemini_server.script(replies.cut("silent"))
    with connect(gemini_server.url) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.generate)
        while not gemini_server.is_answering():
            time.sleep(0.01)
        gemini_server.reset()
        assert isinstance(waiting.exception(5), http.client.RemoteDisconnected)
    assert gemini_server.journal == []


def test_server_leaves_no_thread_and_no_open_port() -> None:
    before = threading.active_count()
    with ExitStack() as stack:
        with run_gemini(replies.cut("silent")) as server, ThreadPoolExecutor(1) as pool:
            idle, waiting = (stack.enter_context(connect(server.url)) for _ in range(2))
            hanging = pool.submit(waiting.generate)
            while server.replies_left:
                time.sleep(0.01)
            assert idle.generate()[0] == 200
            server.reset()
            assert hanging.exception(5) is not None
            port = server.port
        # The idle connection is still open on the client's side, as an SDK's pool keeps it.
        assert threading.active_count() == before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_other_process_serves_and_is_read_and_scripted(gemini_process: RemoteGemini) -> None:
    gemini_process.script(replies.answer("Oo.", thoughts_tokens=3), marker="coast")
    gemini_process.add_model("gemini-9-boron")
    with connect(gemini_process.url) as client:
        assert text_of(client.generate(model="gemini-9-boron")[1]) == "Oo."
    (entry,) = gemini_process.journal
    assert entry.billed == BilledTokens(prompt=5, candidates=1, thoughts=3)
    assert entry.received_at.utcoffset() is not None and entry.body == BODY
    assert set(gemini_process.billed()) == {"gemini-9-boron"}
    with pytest.raises(ValueError, match="often"):
        gemini_process.load({"rules": [{"replies": [{"cut": "often"}]}]})


def test_other_process_starts_afresh_for_each_test(gemini_process: RemoteGemini) -> None:
    assert gemini_process.journal == []
    with connect(gemini_process.url) as client:
        assert client.generate(model="gemini-9-boron")[0] == 404


def test_command_takes_a_script_and_ends_with_its_standard_input(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"rules": [{"replies": [{"status": 503}], "is_repeated": True}]}))
    command = [sys.executable, "-m", "tests.servers.gemini", "--script", str(script), "--until-eof"]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        server = RemoteGemini(process.stdout.readline().strip())
        with connect(server.url) as client:
            assert client.generate()[0] == 503
        process.stdin.close()
        assert process.wait(20) == 0


FORK = """
import os
from pathlib import Path
from tests.servers.gemini import run_gemini
def listens(port):
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}")
              and row[3] == "0A"}
    mine = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            mine.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            pass
    return bool(inodes & mine)
with run_gemini() as server:
    assert listens(server.port)
    child = os.fork()
    if not child:
        print("open" if listens(server.port) else "closed", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_forked_child_does_not_keep_the_port() -> None:
    # Python warns of forking with threads; this is about doing it all the same.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK]
    root = Path(__file__).resolve().parent.parent
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "closed", result.stderr
