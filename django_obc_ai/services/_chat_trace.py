"""What the span of a turn of chat holds; the calls that it makes are spans inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django_obc_ai.telemetry import Attributes, Span, spanning
from django_obc_ai.types.chat import ChatAnswer

_AGENT = "obc_ai.chat"
_NAME = f"invoke_agent {_AGENT}"


def _known(module: str) -> Attributes:
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": _AGENT,
        "obc_ai.module": module,
    }


def begin_turn(span: Span, module: str) -> None:
    """Begin the span of a turn that is told in pieces."""
    span.begin(_NAME, _known(module))


@contextmanager
def turn_span(module: str) -> Iterator[Span]:
    """Cover a turn that is answered at once."""
    with spanning(_NAME, _known(module)) as span:
        yield span


def noted(span: Span, answer: ChatAnswer) -> ChatAnswer:
    """Add what became of a turn, neither question nor answer, and return the answer."""
    if span.is_recording:
        span.error = answer.error or ""
        span.add(
            {
                "gen_ai.conversation.id": str(getattr(answer.conversation, "pk", "")) or None,
                "obc_ai.chat.plan": None if answer.plan is None else answer.plan.kind,
                "obc_ai.chat.refused": answer.is_refused,
                "obc_ai.chat.offline": answer.is_offline,
                "obc_ai.chat.citations": len(answer.citations),
                "obc_ai.chat.calls": len(answer.operation_ids),
            }
        )
    return answer
