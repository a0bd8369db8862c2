"""One turn of a conversation, as a generator that asks for calls and gets their results.

It knows nothing of how calls are made: `services.chat` makes them at once, awaits them or
streams them. All work on databases is done between two calls; none is held open during one.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from django_obc_ai.backends.providers import providers
from django_obc_ai.chat import planner, query
from django_obc_ai.chat.citations import number_sources, resolve
from django_obc_ai.chat.guard import check_message, check_plan
from django_obc_ai.chat.history import History, read_history
from django_obc_ai.chat.inert import make_inert
from django_obc_ai.chat.paths import allowed_models
from django_obc_ai.chat.plan import describe
from django_obc_ai.chat.wording import Phrase, say, say_count, say_failure, say_refusal
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import (
    ConfigurationError,
    DangerousQuery,
    ObcAIError,
    SearchError,
    UnknownIndexError,
)
from django_obc_ai.gateway.embed import noting_operations
from django_obc_ai.logs import events
from django_obc_ai.querysets import current_day
from django_obc_ai.services._chat_calls import Ask, write_ask
from django_obc_ai.services._chat_log import ChatLog
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.types import GenerationResult, SearchResult
from django_obc_ai.types.chat import ChatAnswer, Citation, QueryPlan, QueryResult

_HITS = 6
_TRIES = 2
_SUGGESTIONS = 3
_MOST_REASON_CHARACTERS = 500


Asking: TypeAlias = Generator[Ask, GenerationResult, ChatAnswer]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the data say to a plan."""

    plan: QueryPlan
    result: QueryResult | None
    sources: Sequence[Citation]
    found_by: str
    warnings: tuple[str, ...]


class _Refused(Exception):
    """Nothing is done; the text says why, and there may be something to ask instead."""

    def __init__(self, text: str, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.suggestions = suggestions


class _Failed(Exception):
    """A call failed; the text is the category."""


class Turn:
    """What becomes of one message whose question is stored already."""

    def __init__(self, message: str, *, provider: str, module: str, log: ChatLog) -> None:
        """Begin; nothing is asked yet."""
        self._message = message
        self._provider = provider
        self._module = module
        self._log = log
        self._user = log.user
        self._language = planner.language_of(log.question.text)
        self._is_offline = False
        self._plan: QueryPlan | None = None
        self._operations: list[UUID] = []

    def run(self) -> Asking:
        """Yield the calls to make; return the answer, which is stored by then."""
        try:
            answer = yield from self._answer()
        except _Refused as refusal:
            answer = self._made(text=str(refusal), is_refused=True, suggestions=refusal.suggestions)
        except _Failed as failure:
            code = str(failure)
            answer = self._made(text=say_failure(code, self._language), error=code)
        except (ObcAIError, ConfigurationError) as error:
            events.CHAT_NOT_ANSWERED.log(about=error.code, error=error)
            answer = self._made(text=say_failure(error.code, self._language), error=error.code)
        return self._log.store(answer)

    def _answer(self) -> Asking:
        self._is_offline = providers.backend_class(self._provider).is_offline
        try:
            question = check_message(self._message)
        except DangerousQuery as error:
            raise _Refused(say_refusal(error, self._language)) from error
        history = read_history(self._log.conversation, tokens=get_settings().chat.history_tokens)
        earlier = self._still_allowed(history.plans)
        if self._is_offline:
            plan = self._plan_offline(question, earlier)
        else:
            plan = yield from self._plan_online(question, history, earlier)
        self._plan = plan
        if plan.kind == "refuse":
            reason = make_inert(plan.reason)[:_MOST_REASON_CHARACTERS]
            raise _Refused(reason or self._say("refused"))
        found = self._look_up(plan)
        if self._is_offline:
            return self._answer_offline(found)
        result = yield self._ask("chat_answer", question, history, sources=found.sources)
        self._note(result)
        return self._checked(result, found, known=[question, history.text])

    def _plan_offline(self, question: str, earlier: Sequence[QueryPlan]) -> QueryPlan:
        raw = planner.propose(question, user=self._user, earlier=earlier)
        if raw is None:
            raise _Refused(self._say("not_understood"), self._suggest())
        try:
            return check_plan(raw, user=self._user)
        except DangerousQuery as error:
            raise _Refused(self._say("refused")) from error

    def _plan_online(
        self, question: str, history: History, earlier: Sequence[QueryPlan]
    ) -> Generator[Ask, GenerationResult, QueryPlan]:
        """Let the model fill a plan; one that is refused may be filled anew, once.

        The second try is as safe as the first: what comes back is checked in the same way,
        and the reason tells the model nothing about what it was not shown.
        """
        reason = ""
        for _ in range(_TRIES):
            result = yield self._ask("chat_plan", question, history, plans=earlier, reason=reason)
            self._note(result)
            if result.error is not None or not isinstance(result.data, Mapping):
                raise _Failed(result.error or "bad_response")
            try:
                return check_plan(_tidy(result.data), user=self._user)
            except DangerousQuery as error:
                reason = str(error)
        raise _Refused(self._say("refused"))

    def _look_up(self, plan: QueryPlan) -> _Found:
        try:
            result = query.run(plan, user=self._user) if plan.kind in ("query", "both") else None
        except DangerousQuery as error:  # it takes too long
            raise _Refused(say_refusal(error, self._language)) from error
        found_by = "" if result is None else self._describe(result)
        hits, warnings = self._search(plan)
        return _Found(
            plan=plan,
            result=result,
            sources=number_sources(result, found_by, hits),
            found_by=found_by,
            warnings=warnings,
        )

    def _describe(self, result: QueryResult) -> str:
        words = make_inert(describe(result.plan, self._language))  # values are of the model
        is_figure = bool(result.plan.aggregates) and not result.plan.group_by
        return words if is_figure else f"{words}; {say_count(result, self._language)}"

    def _search(self, plan: QueryPlan) -> tuple[list[SearchResult], tuple[str, ...]]:
        """Return what the user may find, and why nothing was looked for beside rows."""
        if plan.kind not in ("search", "both"):
            return [], ()
        service = SimilaritySearchService()
        try:
            with noting_operations(self._operations):
                if plan.index:
                    return service.search(plan.index, plan.search, user=self._user, k=_HITS), ()
                return service.search_all(plan.search, user=self._user, k=_HITS), ()
        except UnknownIndexError as error:
            raise _Refused(self._say("refused")) from error
        except SearchError as error:
            if plan.kind == "search":
                raise
            events.CHAT_NO_SEARCH.log(error=error)
            return [], (self._say("no_search"),)

    def _ask(self, name: str, question: str, history: History, **more: Any) -> Ask:
        return write_ask(
            name,
            question,
            history,
            log=self._log,
            module=self._module,
            language=self._language,
            **more,
        )

    def _answer_offline(self, found: _Found) -> ChatAnswer:
        plan, result = found.plan, found.result
        hits = [each for each in found.sources if each.object is not None]
        lines = [] if result is None else [self._phrase(plan, result)]
        if plan.kind in ("search", "both"):
            lines.append(self._say("found" if hits else "not_found"))
            lines += [f"{make_inert(each.title)} [{each.number}]" for each in hits]
        text = "\n".join(lines) or self._say("not_understood")
        return self._told(found, text=text, citations=tuple(hits), warnings=found.warnings)

    def _checked(
        self, answered: GenerationResult, found: _Found, *, known: Sequence[str]
    ) -> ChatAnswer:
        """Return what a model made of the sources, as far as it may be shown."""
        resolved = resolve(
            answered.text,
            found.sources,
            result=found.result,
            known=[*known, found.found_by, current_day().isoformat()],
            language=self._language,
        )
        text, error = resolved.text, answered.error
        warnings = [*found.warnings, *resolved.warnings]
        if error is None and not text:
            error = "bad_response"
        if answered.finish_reason == "length":
            warnings.append(self._say("cut"))
        if error is not None:
            text = "\n\n".join(filter(None, [text, self._without_model(error, found)]))
        return self._told(
            found, text=text, citations=resolved.citations, warnings=tuple(warnings), error=error
        )

    def _without_model(self, error: str, found: _Found) -> str:
        """Return what can be said where the model was to answer: what failed, and the rows."""
        failure = say_failure(error, self._language)
        if found.result is None:
            return failure
        rows = self._phrase(found.plan, found.result)
        return f"{failure} {self._say('from_rows')} {rows}"

    def _phrase(self, plan: QueryPlan, result: QueryResult) -> str:
        """Return what the rows say; a row may hold an address, which is shown as text."""
        return make_inert(planner.phrase(plan, result, self._language, user=self._user))

    def _still_allowed(self, plans: Sequence[Mapping[str, Any]]) -> list[QueryPlan]:
        """Return earlier plans that this user may still run."""
        allowed = []
        for raw in plans:
            try:
                allowed.append(check_plan(raw, user=self._user))
            except DangerousQuery:
                events.CHAT_PLAN_REFUSED.log()
        return allowed

    def _note(self, result: GenerationResult) -> None:
        if result.operation_id is not None:
            self._operations.append(result.operation_id)

    def _say(self, phrase: Phrase) -> str:
        return say(phrase, self._language)

    def _told(self, found: _Found, **values: Any) -> ChatAnswer:
        """Return an answer that rests on data."""
        return self._made(
            rows=found.result,
            found_by=found.found_by,
            suggestions=self._suggest(found),
            **values,
        )

    def _suggest(self, found: _Found | None = None) -> tuple[str, ...]:
        """Return what could be asked next about the model of an answer, or about the first one."""
        if not get_settings().chat.suggestions:
            return ()
        plan = QueryPlan() if found is None else found.plan
        if not plan.model:
            hits = [] if found is None else [each.object for each in found.sources if each.object]
            labels = [each._meta.label for each in hits] + list(allowed_models(self._user))
            allowed = [label for label in labels if label in allowed_models(self._user)]
            plan = QueryPlan(model=allowed[0] if allowed else "")
        ideas = planner.suggest(plan, user=self._user, language=self._language)
        return tuple(make_inert(each) for each in ideas[:_SUGGESTIONS])

    def _made(self, **values: Any) -> ChatAnswer:
        return ChatAnswer(
            plan=self._plan,
            operation_ids=tuple(self._operations),
            conversation=self._log.conversation,
            is_offline=self._is_offline,
            **values,
        )


def _tidy(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what a model filled with nothing, since the schema names it: no condition is."""
    return {key: value for key, value in raw.items() if value not in ("", [], {}, None)}
