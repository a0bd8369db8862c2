"""HTTP: read a request, find out what it wants and have it answered."""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.gemini import errors, tokens, wire
from tests.servers.gemini.catalogue import Model
from tests.servers.gemini.generation import generate, usage_metadata
from tests.servers.gemini.journal import BilledTokens, Record
from tests.servers.gemini.replies import Reply
from tests.servers.gemini.respond import Responder
from tests.servers.gemini.transport import Line, make_head
from tests.servers.gemini.vectors import DIMENSIONS, embed
from tests.servers.gemini.wire import ApiError

if TYPE_CHECKING:
    from tests.servers.gemini.server import HTTPServer, State

PATH = re.compile(r"/(?P<version>v1|v1beta)/models(?:/(?P<model>[^/:]+)(?::(?P<method>\w+))?)?")
BATCH_LIMIT = 100
CHAT_OPERATIONS = ("generateContent", "streamGenerateContent")
NO_KEY = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use"
    " API Key or other form of API consumer identity to call this API."
)


class Handler(BaseHTTPRequestHandler):
    """Serves one connection, request after request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HTTPServer

    def log_message(self, *arguments: Any) -> None:
        """The journal tells more."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        state = self.server.state
        if self.path.startswith("/_"):
            self._control(state)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        key = headers.pop("x-goog-api-key", "")
        headers.pop("authorization", None)
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        path = re.sub(r"([?&]key=)[^&]*", r"\1***", self.path)
        is_over = state.is_over
        record = state.journal.begin(method=self.command, path=path, headers=headers, key=key)
        line = Line(self.connection, is_over=is_over)
        alternatives = query.get("$alt", []) + query.get("alt", [])
        responder = Responder(
            line,
            record,
            is_integers=any("enum-encoding=int" in value for value in alternatives),
            is_sse="sse" in alternatives,
        )
        try:
            text = self._read_body()
            _Exchange(state, responder).run(self.command, url.path, query, key, text)
        finally:
            record.client_left = line.is_lost and not is_over.is_set()
            if line.is_lost or line.is_broken:
                self.close_connection = True
            if state.is_slim:
                record.slim()
            state.journal.finish(record)

    def _read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _control(self, state: State) -> None:
        """Let other processes read the journal and write the script."""
        body = self._read_body()
        status = 200
        answer: Any = {}
        if self.path == "/_journal":
            answer = [entry.to_json() for entry in state.journal.read()]
        elif self.path == "/_script":
            try:
                state.load(json.loads(body))
            except (KeyError, TypeError, ValueError) as error:
                status, answer = 400, {"error": repr(error)}
        elif self.path == "/_reset":
            state.reset()
        else:
            status = 404
        data = json.dumps(answer).encode()
        self.connection.sendall(make_head(status, "application/json", len(data)) + data)


class _Exchange:
    """One request and what becomes of it."""

    def __init__(self, state: State, responder: Responder) -> None:
        self.state = state
        self.responder = responder
        self.record: Record = responder.record

    def run(
        self, command: str, path: str, query: dict[str, list[str]], key: str, body: bytes
    ) -> None:
        try:
            self._read_path(command, path)
            self._check_key(query, key)
            if body:
                self.record.body = _parse(body)
            self._answer()
        except ApiError as error:
            reply = errors.refusal(error)
            self.record.reply = reply.name
            self.responder.refuse(reply, self.record.model)

    def _read_path(self, command: str, path: str) -> None:
        found = PATH.fullmatch(path)
        if found is None:
            raise ApiError(404, f"The requested URL {path} was not found on this server.")
        record = self.record
        record.api_version = found["version"]
        record.model = found["model"] or ""
        if command == "GET" and not found["method"]:
            record.operation = "models.get" if found["model"] else "models.list"
        elif command == "POST" and found["method"]:
            record.operation = found["method"]
        else:
            raise ApiError(404, f"{command} is not supported for {path}.")

    def _check_key(self, query: dict[str, list[str]], key: str) -> None:
        if "key" in query or "$key" in query:
            raise ApiError(400, "The loopback server accepts no key in the URL: URLs are logged.")
        if not key:
            raise ApiError(403, NO_KEY)
        if not self.state.accepts(key):
            raise ApiError(400, errors.BAD_KEY_MESSAGE, reason="API_KEY_INVALID")

    def _answer(self) -> None:
        operation = self.record.operation
        if operation == "models.list":
            self._list_models()
        elif operation == "models.get":
            model = self._find_model()
            self._reply(model.to_wire(), BilledTokens(), self._choose())
        elif operation in CHAT_OPERATIONS:
            self._generate()
        elif operation == "countTokens":
            self._count()
        elif operation in ("embedContent", "batchEmbedContents"):
            self._embed()
        else:
            raise errors.model_not_found(self.record.model, self.record.api_version, operation)

    def _find_model(self, *, is_embedder: bool | None = None) -> Model:
        record = self.record
        model = self.state.models.get(record.model)
        if model is None or is_embedder not in (None, model.is_embedder):
            raise errors.model_not_found(record.model, record.api_version, record.operation)
        return model

    def _choose(self) -> Reply:
        record = self.record
        reply = self.state.script.choose(
            operation=record.operation,
            model=record.model,
            text=json.dumps(record.body, ensure_ascii=False),
        )
        record.reply = reply.name
        return reply

    def _reply(self, payload: Any, billed: BilledTokens, reply: Reply) -> None:
        if reply.is_before_generation:
            self.responder.refuse(reply, self.record.model)
        else:
            self.responder.answer(reply, payload, billed)

    def _message(self) -> Any:
        return wire.normalise(wire.check_object(self.record.body))

    # --- Operations -----------------------------------------------------------------------

    def _list_models(self) -> None:
        models = sorted(self.state.models)
        query = parse_qs(urlsplit(self.record.path).query)
        start = int(query.get("pageToken", ["0"])[0])
        size = min(int(query.get("pageSize", ["50"])[0]) or 50, 1000)
        payload: dict[str, Any] = {
            "models": [self.state.models[name].to_wire() for name in models[start : start + size]]
        }
        if start + size < len(models):
            payload["nextPageToken"] = str(start + size)
        self._reply(payload, BilledTokens(), self._choose())

    def _generate(self) -> None:
        record, responder = self.record, self.responder
        model = self._find_model(is_embedder=False)
        request = self._message()
        wire.check_generation(request)
        reply = self._choose()
        is_stream = record.operation == "streamGenerateContent"
        generation = generate(
            request,
            reply,
            model=model,
            is_stream=is_stream,
            response_id=f"loopback-{record.number}",
        )
        if reply.is_before_generation:
            if reply.bills:
                record.model_version = generation.model_version
                responder.bill(reply, generation.billed(len(generation.pieces)))
            responder.refuse(reply, record.model)
            return
        record.model_version = generation.model_version
        if is_stream:
            responder.stream(reply, generation)
        else:
            responder.answer(reply, generation.payload(1), generation.billed(1))

    def _count(self) -> None:
        self._find_model()
        message = self._message()
        inner = message.get("generateContentRequest")
        if inner is not None and "contents" in message:
            raise ApiError(400, "Only one of contents and generate_content_request may be set.")
        request = wire.check_object(message if inner is None else inner)
        wire.check_contents(request)
        reply = self._choose()
        total = tokens.count_prompt(request) if reply.prompt_tokens is None else reply.prompt_tokens
        details = [{"modality": "TEXT", "tokenCount": total}]
        payload = {"totalTokens": total, "promptTokensDetails": details}
        self._reply(payload, BilledTokens(), reply)

    def _embed(self) -> None:
        record = self.record
        model = self._find_model(is_embedder=True)
        message = self._message()
        is_batch = record.operation == "batchEmbedContents"
        requests = message.get("requests") if is_batch else [message]
        if not isinstance(requests, list) or not requests:
            raise ApiError(400, "* BatchEmbedContentsRequest.requests: must not be empty.")
        if len(requests) > BATCH_LIMIT:
            raise ApiError(
                400,
                f"* BatchEmbedContentsRequest.requests: at most {BATCH_LIMIT} requests can be in"
                " one batch",
            )
        for request in requests:
            wire.check_embedding(wire.check_object(request), model.name)
        reply = self._choose()
        total = sum(tokens.count_parts(request["content"]["parts"]) for request in requests)
        billed = BilledTokens(prompt=total if reply.prompt_tokens is None else reply.prompt_tokens)
        if reply.is_before_generation:
            self.responder.refuse(reply, record.model)
            return
        record.model_version = reply.model_version or model.version
        embeddings = [{"values": list(_vector(request))} for request in requests]
        payload: dict[str, Any] = (
            {"embeddings": embeddings} if is_batch else {"embedding": embeddings[0]}
        )
        if reply.usage != "missing":
            usage = {**usage_metadata(billed), **reply.usage_fields}
            payload["usageMetadata"] = {k: v for k, v in usage.items() if v is not None}
        self.responder.answer(reply, payload, billed)


def _vector(request: Any) -> tuple[float, ...]:
    parts = request["content"]["parts"]
    text = "\n".join(part.get("text", "") for part in parts)
    return embed(text, request.get("outputDimensionality") or DIMENSIONS)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise ApiError(400, "Invalid JSON payload received. Unexpected token.") from error
