"""A real HTTP server that speaks the REST protocol of the Gemini API, and fails on request.

    with run_gemini() as server:
        server.script(replies.rate_limited("2s"), replies.answer("Yes.", thoughts_tokens=40))
        ...  # point an SDK at server.url with server.key
        assert [entry.reply for entry in server.journal] == ["rate limited", "answer"]
        assert server.billed()["gemini-2.5-flash"].thoughts == 40

It serves v1 and v1beta: generateContent, streamGenerateContent (as server-sent events with alt=sse,
else as one JSON array), countTokens in both forms of its body, embedContent, batchEmbedContents (at
most 100), and the list and the details of models. Names may be camelCase or snake_case, enums names
or numbers; numbers are answered to a query with enum-encoding=int. Fields that the service does not
know are refused, as there. The key comes in the header x-goog-api-key; every key is good that does
not begin with BAD_KEY. A key in the URL is refused.

What a request gets is one `Reply` (`replies` has short names for the usual ones), from the first
rule of the script that fits and has one left, else a plain answer. The journal tells what was asked
and answered; `tokens` says how tokens are counted. All of it works from other processes by
`RemoteGemini(url)`.

What is billed:

- A refusal (any status but 200), `no_answer`, `silent`, countTokens and models: nothing.
- An answer that is not a stream: all of it as soon as generation begins, whether or not it arrives.
  So with `rst`, `fin`, `hang`, a delay or a drip that the client does not wait for, and with a body
  that is empty, broken or HTML.
- A stream: the prompt, tool results and thoughts once generation begins, then each chunk as it is
  made. A stream that breaks off after k chunks bills k chunks; one that the client leaves bills the
  chunks made until the server noticed, before the next one. To leave at an exact place, script
  `cut("hang", k)` and close after k chunks. An empty, broken or HTML body bills everything.
- A blocked prompt: the prompt. SAFETY and its like: the prompt, thoughts, and the text if there was
  one. MAX_TOKENS: what fits into the limit, thoughts first.
- Embeddings: the tokens of their texts.
- What usageMetadata says, or leaves out, changes nothing. `Reply.bills` overrides all of this, for
  services that charge more (all, though the client left) or less.

How an answer breaks off (`Reply.cut`), none of them with a finishReason:

    clean      the stream ends in good order, as if it were complete
    rst        the connection is reset after k chunks, or in the middle of the body
    fin        the same, but closed in good order: the body is shorter than announced
    hang       the same, but nothing more comes until the client leaves
    error      status 200, then an error object in place of the next chunk
    no_answer  the connection is closed without an answer
    silent     nothing is answered until the client leaves

Slow answers: `delay_seconds` before the status line, `chunk_interval_seconds` between chunks, and
`drip_bytes` every `drip_interval_seconds`, which defeats timeouts that start anew with every read.
"""

from __future__ import annotations

from tests.servers.gemini import replies
from tests.servers.gemini.journal import BilledTokens, JournalEntry, key_id, sum_billed
from tests.servers.gemini.remote import RemoteGemini, run_gemini_process
from tests.servers.gemini.replies import Reply
from tests.servers.gemini.server import BAD_KEY, GOOD_KEY, GeminiServer, closed_port, run_gemini

__all__ = [
    "BAD_KEY",
    "GOOD_KEY",
    "BilledTokens",
    "GeminiServer",
    "JournalEntry",
    "RemoteGemini",
    "Reply",
    "closed_port",
    "key_id",
    "replies",
    "run_gemini",
    "run_gemini_process",
    "sum_billed",
]
