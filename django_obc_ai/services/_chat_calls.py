"""What a turn sends: the prompt of a plan, and the prompt of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django_obc_ai.chat.citations import to_model
from django_obc_ai.chat.history import History
from django_obc_ai.chat.plan import as_mapping, describe_models, plan_schema
from django_obc_ai.chat.prompts import get_prompt, write_question
from django_obc_ai.indexes import get_indexes
from django_obc_ai.querysets import current_day
from django_obc_ai.services._chat_log import ChatLog
from django_obc_ai.services.text import TextService
from django_obc_ai.types.chat import Citation, QueryPlan

_LANGUAGES = {
    "en": "English, or in the language of the question if it is clearly another",
    "tl": "Filipino",
}


class ChatText(TextService):
    """Answers at once or not at all: somebody sits there and waits."""

    _may_queue: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A call that the turn needs made.

    Attributes:
        prompt: For `TextService`.
        arguments: Its other arguments.
        numbers: Of a call whose text people will read: the sources that it may cite. None
            for a plan.
    """

    prompt: str
    arguments: Mapping[str, Any]
    numbers: frozenset[int] | None = None


def write_ask(
    name: str,
    question: str,
    history: History,
    *,
    log: ChatLog,
    module: str,
    language: str,
    plans: Sequence[QueryPlan] = (),
    reason: str = "",
    sources: Sequence[Citation] = (),
) -> Ask:
    """Return the call of one prompt: "chat_plan" or "chat_answer".

    Args:
        name: Of the prompt.
        question: As the guard let it pass.
        history: What was said before.
        log: Whose question it is.
        module: Stored with the operation.
        language: "en" or "tl".
        plans: Earlier plans that this user may still run, for a plan.
        reason: Why the last plan was refused, for a plan.
        sources: What the answer shall rest on.
    """
    template = get_prompt(name)
    is_plan = name == "chat_plan"
    values = {"today": current_day().isoformat(), "language": _LANGUAGES[language]}
    if is_plan:
        values["models"] = describe_models(log.user)
        values["indexes"] = ", ".join(each.name for each in get_indexes())
    arguments: dict[str, Any] = {
        "user": log.user,
        "scope": log.scope,
        "system_context": template.render(**values),
        "operation_type": "chat",
        "module": module,
        "content_type": "chat",
        "include_context": not is_plan,
        "history": history.messages,
        # The rows that this user sees are part of the prompt, and so of the cache key: rows
        # that changed are another question. Still, no other user is ever given what was made
        # of them.
        "varies_by_user": True,
        "prompt_version": template.version,
    }
    if is_plan:
        arguments["response_schema"] = plan_schema(log.user)
    else:
        arguments["sources"] = to_model(sources)
    prompt = write_question(
        question,
        summary=history.summary,
        plans=[as_mapping(each) for each in plans],
        reason=reason,
    )
    numbers = None if is_plan else frozenset(each.number for each in sources)
    return Ask(prompt=prompt, arguments=arguments, numbers=numbers)
