"""Questions about a project's data, answered with the asking user's own rights."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied

from django_obc_ai import telemetry
from django_obc_ai.chat import query
from django_obc_ai.chat.guard import check_plan
from django_obc_ai.chat.inert import InertText
from django_obc_ai.chat.statements import show_sql
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import (
    ConfigurationError,
    ObcAIError,
    UnknownConversationError,
)
from django_obc_ai.models.connections import release_connections
from django_obc_ai.safe_csv import write_rows
from django_obc_ai.services._chat_calls import Ask, ChatText
from django_obc_ai.services._chat_log import find_answer, open_log
from django_obc_ai.services._chat_trace import begin_turn, noted, turn_span
from django_obc_ai.services._chat_turn import Asking, Turn
from django_obc_ai.services.results import AsyncTextStream, TextStream, unconfigured
from django_obc_ai.services.text import TextService
from django_obc_ai.types import GenerationResult
from django_obc_ai.types.chat import ChatAnswer, QueryPlan, QueryResult

_Step: TypeAlias = tuple[Ask | None, ChatAnswer | None]


class ChatService:
    """Answers questions about a project's data; cheap to build, safe to share.

    It only reads, and only what was declared and the asking user may see. Answers come from
    the language model of ``OBC_AI["CHAT"]["provider"]``, within its budget; with the offline
    provider from rules, and they say so.
    """

    def __init__(self, provider: str | None = None, *, module: str = "general") -> None:
        """Choose the provider.

        Args:
            provider: Alias in ``OBC_AI["PROVIDERS"]``; None takes ``OBC_AI["CHAT"]``'s.
            module: Stored with the operations; see ``types.MODULES``.
        """
        self._provider = provider
        self._module = module

    def send(self, message: str, *, user: Any, conversation: Any = None) -> ChatAnswer:
        """Answer a message; it and the answer are stored.

        Failures of the provider, exhausted budgets and refusals do not raise: look at
        ``error`` and ``is_refused``.

        Args:
            message: A question, in any language.
            user: Whose rights apply; a user, an AnonymousUser or None.
            conversation: A `Conversation` of this user or its key, to go on with; None
                begins one.

        Raises:
            UnknownConversationError: The user has no such conversation.
        """
        with turn_span(self._module) as span:
            turn = self._begin(message, user=user, conversation=conversation)
            ask, answer = _advance(turn, None)
            while ask is not None:
                result = self._text.generate_text(ask.prompt, **ask.arguments)
                ask, answer = _advance(turn, result)
            return noted(span, _ended(answer))

    async def asend(self, message: str, *, user: Any, conversation: Any = None) -> ChatAnswer:
        """See send()."""
        with turn_span(self._module) as span:
            begin = partial(self._begin, message, user=user, conversation=conversation)
            turn, (ask, answer) = await sync_to_async(_begun)(begin)
            step = sync_to_async(_released)
            while ask is not None:
                result = await self._text.agenerate_text(ask.prompt, **ask.arguments)
                ask, answer = await step(turn, result)
            return noted(span, _ended(answer))

    def stream(self, message: str, *, user: Any, conversation: Any = None) -> ChatStream:
        """Answer a message in pieces of text; see send().

        Every piece is as safe to show as the whole; joined they are the text of the answer.
        """
        return ChatStream(
            self._text,
            lambda: self._begin(message, user=user, conversation=conversation),
            module=self._module,
        )

    def astream(self, message: str, *, user: Any, conversation: Any = None) -> AsyncChatStream:
        """See stream()."""
        return AsyncChatStream(
            self._text,
            lambda: self._begin(message, user=user, conversation=conversation),
            module=self._module,
        )

    def read_rows(self, message_id: Any, *, user: Any) -> QueryResult:
        """Return the rows of an answer anew: today's rows, with today's rights.

        Args:
            message_id: ``ChatAnswer.message_id`` of one of this user's answers.
            user: Whose rights apply.

        Raises:
            UnknownConversationError: The user has no such answer, or it rests on no rows.
            DangerousQuery: The user may no longer ask that.
        """
        return query.run(_plan_of(message_id, user=user), user=user)

    def export_csv(self, message_id: Any, *, user: Any) -> str:
        """Return the rows of an answer as CSV; see read_rows()."""
        found = self.read_rows(message_id, user=user)
        return write_rows(found.labels, found.rows)

    def show_query(self, message_id: Any, *, user: Any) -> str:
        """Return the SQL of an answer's query, as it runs for this user today.

        Args:
            message_id: ``ChatAnswer.message_id`` of one of this user's answers.
            user: A member of the staff.

        Raises:
            PermissionDenied: The user is not.
            UnknownConversationError: See read_rows().
            DangerousQuery: See read_rows().
        """
        if not (getattr(user, "is_staff", False) and getattr(user, "is_active", False)):
            raise PermissionDenied("Only staff may see how a query is written.")
        return show_sql(_plan_of(message_id, user=user), user=user)

    @property
    def _text(self) -> ChatText:
        return ChatText(self._alias)

    @property
    def _alias(self) -> str:
        return self._provider or get_settings().chat.provider

    def _begin(self, message: str, *, user: Any, conversation: Any) -> Asking:
        if not isinstance(message, str):
            raise TypeError(f"message is of type {type(message).__name__}, not text.")
        log = open_log(message, user=user, conversation=conversation)
        return Turn(message, provider=self._alias, module=self._module, log=log).run()


class ChatStream(Iterator[str]):
    """The pieces of an answer; ``answer`` is there once it has ended.

    Close it, or leave its ``with`` block, when you stop reading early: what was used until
    then is booked, and the question is kept without an answer. Failures of the provider do
    not raise: they end the text, and ``answer.error`` holds their category.
    """

    def __init__(
        self, text: TextService, begin: Callable[[], Asking], *, module: str = "general"
    ) -> None:
        """Wrap a turn that begins with the first piece."""
        self._answer: ChatAnswer | None = None
        self._span = telemetry.Span()
        began = partial(begin_turn, self._span, module)
        self._pieces = telemetry.steps(self._span, began, self._run(text, begin))

    def _run(self, text: TextService, begin: Callable[[], Asking]) -> Generator[str, None, None]:
        turn, told = begin(), _Told()
        ask, answer = _advance(turn, None)
        while ask is not None:
            if ask.numbers is None:
                result = text.generate_text(ask.prompt, **ask.arguments)
            else:
                told = _Told(ask)
                stream: TextStream | None = None
                try:
                    with text.stream_text(ask.prompt, **ask.arguments) as stream:
                        for piece in stream:
                            yield from told.take(piece)
                except (ObcAIError, ConfigurationError) as error:
                    told.error = error
                result = told.end(stream)
            ask, answer = _advance(turn, result)
        self._answer = noted(self._span, _ended(answer))
        yield from told.rest_of(self._answer)

    def __next__(self) -> str:
        return next(self._pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading."""
        self._pieces.close()

    @property
    def answer(self) -> ChatAnswer | None:
        """Return the answer, or None until the last piece was read."""
        return self._answer


class AsyncChatStream(AsyncIterator[str]):
    """See `ChatStream`; close it with ``aclose()`` or ``async with``."""

    def __init__(
        self, text: TextService, begin: Callable[[], Asking], *, module: str = "general"
    ) -> None:
        """Wrap a turn that begins with the first piece."""
        self._answer: ChatAnswer | None = None
        self._span = telemetry.Span()
        began = partial(begin_turn, self._span, module)
        self._pieces = telemetry.asteps(self._span, began, self._run(text, begin))

    async def _run(
        self, text: TextService, begin: Callable[[], Asking]
    ) -> AsyncGenerator[str, None]:
        told, step = _Told(), sync_to_async(_released)
        turn, (ask, answer) = await sync_to_async(_begun)(begin)
        while ask is not None:
            if ask.numbers is None:
                result = await text.agenerate_text(ask.prompt, **ask.arguments)
            else:
                told = _Told(ask)
                stream = text.astream_text(ask.prompt, **ask.arguments)
                try:
                    async with stream:
                        async for piece in stream:
                            for ready in told.take(piece):
                                yield ready
                except (ObcAIError, ConfigurationError) as error:
                    told.error = error
                result = told.end(stream)
            ask, answer = await step(turn, result)
        self._answer = noted(self._span, _ended(answer))
        for ready in told.rest_of(self._answer):
            yield ready

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """See ChatStream.close()."""
        await self._pieces.aclose()

    @property
    def answer(self) -> ChatAnswer | None:
        """See ChatStream.answer."""
        return self._answer


class _Told:
    """What a person has been told of an answer that is still being written."""

    def __init__(self, ask: Ask | None = None) -> None:
        numbers = ask.numbers if ask is not None else None
        self._inert = InertText(numbers or ())
        self._raw = ""
        self._shown = ""
        self.error: ObcAIError | ConfigurationError | None = None

    def take(self, piece: str) -> Iterator[str]:
        self._raw += piece
        ready = self._inert.feed(piece)
        self._shown += ready
        if ready:
            yield ready

    def end(self, stream: TextStream | AsyncTextStream | None) -> GenerationResult:
        """Return how the call ended, with what arrived of its text, also where it broke off."""
        result = None if stream is None else stream.result
        if result is None:  # not even begun
            assert isinstance(self.error, ConfigurationError)  # noqa: S101 - nothing else does that
            return unconfigured(self.error)
        return replace(result, text=self._raw)

    def rest_of(self, answer: ChatAnswer) -> Iterator[str]:
        rest = answer.text.removeprefix(self._shown)
        if rest:
            yield rest


def _advance(turn: Asking, result: GenerationResult | None) -> _Step:
    """Let a turn go on to its next call, or to its end."""
    try:
        # None is what begins a generator.
        return turn.send(result), None  # type: ignore[arg-type]
    except StopIteration as ended:
        return None, ended.value


def _begun(begin: Callable[[], Asking]) -> tuple[Asking, _Step]:
    """Begin a turn, and let it go on to its first call."""
    turn = begin()
    return turn, _released(turn, None)


def _released(turn: Asking, result: GenerationResult | None) -> _Step:
    """Do the same and let connections go: a call may take minutes."""
    try:
        return _advance(turn, result)
    finally:
        release_connections()


def _ended(answer: ChatAnswer | None) -> ChatAnswer:
    assert answer is not None  # noqa: S101 - a turn ends with one
    return answer


def _plan_of(message_id: Any, *, user: Any) -> QueryPlan:
    raw = find_answer(message_id, user=user).plan
    plan = None if raw is None else check_plan(raw, user=user)
    if plan is None or plan.kind not in ("query", "both"):
        raise UnknownConversationError(
            "There is no such answer, or it rests on no rows. Give the message_id of an answer"
            " that has rows."
        )
    return plan
