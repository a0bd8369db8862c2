"""Asserting what a test asked of language models: how often, for how much, and saying what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from unittest import mock

from django_obc_ai.gateway.book import CallBook
from django_obc_ai.models import AIOperation
from django_obc_ai.services.ledger import flush_rows
from django_obc_ai.signals import operation_finished
from django_obc_ai.types import GenerationRequest


@contextmanager
def _operations() -> Iterator[list[AIOperation]]:
    """Collect the operations that finish inside, in any thread."""
    seen: list[AIOperation] = []

    def note(sender: Any, *, operation: AIOperation, **_: Any) -> None:
        seen.append(operation)

    operation_finished.connect(note, weak=False)
    try:
        yield seen
        flush_rows()  # the signal is sent when a row is written
    finally:
        operation_finished.disconnect(note)


@contextmanager
def assert_ai_calls(
    expected: int, *, operation_type: str = "", module: str = ""
) -> Iterator[list[AIOperation]]:
    """Assert how many operations ask a provider inside the block.

    Answers from the cache and calls that a budget refused asked nobody and do not count. A
    call that was tried again counts once; its row says how often in ``attempts``.

    Args:
        expected: The number.
        operation_type: Count those of this type only.
        module: Count those of this module only.

    Yields:
        All operations that have finished inside so far, whether they count or not.

    Raises:
        AssertionError: The number differs; the message lists what finished.
    """
    with _operations() as seen:
        yield seen
    counted = [
        each
        for each in seen
        if each.attempts
        and operation_type in ("", each.operation_type)
        and module in ("", each.module)
    ]
    if len(counted) != expected:
        raise AssertionError(
            f"{len(counted)} operations asked a provider, not {expected}. {_listed(seen)}"
        )


@contextmanager
def assert_cost_below(limit_usd: Decimal | str | int) -> Iterator[list[AIOperation]]:
    """Assert that what finishes inside the block costs less than a limit.

    Args:
        limit_usd: US dollars, best as a text; floats are inexact.

    Yields:
        All operations that have finished inside so far.

    Raises:
        TypeError: The limit is a float.
        AssertionError: It costs as much or more, or the cost of one operation is not known.
    """
    if isinstance(limit_usd, float):
        raise TypeError('assert_cost_below() takes an exact amount, such as "0.05", no float.')
    limit = Decimal(limit_usd)
    with _operations() as seen:
        yield seen
    total = sum((each.cost_usd for each in seen), Decimal(0))
    if not all(each.cost_known for each in seen):
        raise AssertionError(
            f"The cost is not known, so it is not below ${limit:f}. {_listed(seen)}"
        )
    if total >= limit:
        raise AssertionError(f"The cost is ${total:f}, not below ${limit:f}. {_listed(seen)}")


def _listed(operations: list[AIOperation]) -> str:
    if not operations:
        return "No operation finished."
    lines = [
        f"  {each.operation_type} in {each.module}: {each.model_used or each.model_requested},"
        f" {each.attempts} attempts, ${each.cost_usd:f}"
        + ("" if each.cost_known else ", cost not known")
        + (", from the cache" if each.cached else "")
        + ("" if each.success else f", failed: {each.error_category}")
        for each in operations
    ]
    return "\n".join(["Operations that finished:", *lines])


@contextmanager
def assert_no_prompt_contains(*forbidden: str | re.Pattern[str]) -> Iterator[None]:
    """Assert that nothing sent to a provider inside the block contains a text.

    Everything that leaves counts: prompt, system instruction, history, sources and schema, in
    calls through this package to any provider. A call that would break the rule is stopped
    before it is sent.

    Args:
        *forbidden: Texts, compared without regard to case, or compiled patterns.

    Raises:
        ValueError: Nothing is forbidden, or an empty text, which everything contains.
        AssertionError: A request contains one; the message says which, and where.
    """
    if not forbidden or not all(forbidden):
        raise ValueError("assert_no_prompt_contains() takes texts or patterns, none of them empty.")
    patterns = [
        re.compile(re.escape(each), re.IGNORECASE) if isinstance(each, str) else each
        for each in forbidden
    ]
    found: list[str] = []
    original = CallBook.open

    def open_(book: CallBook, *arguments: Any) -> None:
        for where, text in _sent(book.request):
            for given, pattern in zip(forbidden, patterns, strict=True):
                if pattern.search(text):
                    shown = given if isinstance(given, str) else given.pattern
                    found.append(f"The {where} of a request contains {shown!r}. It was not sent.")
                    raise AssertionError(found[-1])
        original(book, *arguments)

    with mock.patch.object(CallBook, "open", open_):
        yield
    if found:  # whoever called may have caught the error
        raise AssertionError("\n".join(found))


def _sent(request: GenerationRequest) -> Iterator[tuple[str, str]]:
    yield "system instruction", request.system
    yield "prompt", request.prompt
    for number, message in enumerate(request.history, start=1):
        yield f"history (turn {number}, {message.role})", message.text
    for number, source in enumerate(request.sources, start=1):
        yield f"title of source {number}", source.title
        yield f"text of source {number}", source.text
    if request.response_schema is not None:
        yield "response schema", str(dict(request.response_schema))
