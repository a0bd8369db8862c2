"""Taking somebody's name out of what others asked and were answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from django.db import models

from django_obc_ai.gateway import erasing
from django_obc_ai.models import AIOperation, ChatMessage, Conversation, StoredContent

#: Stands where a name stood.
MARK = "[erased]"
_LEAST = 4
_AT_ONCE = 200
_TEXTS: Sequence[tuple[type[models.Model], tuple[str, ...]]] = (
    (ChatMessage, ("text", "plan", "citations")),
    (Conversation, ("title", "summary")),
    (StoredContent, ("system", "prompt", "history", "answer")),
    (AIOperation, ("error_message",)),
)


def pattern_of(mentions: Collection[str]) -> re.Pattern[str] | None:
    """Return what finds these words in any case and with any space between them.

    Raises:
        ValueError: One is so short that it would be found in other words.
    """
    found = []
    for mention in mentions:
        words = mention.split()
        if sum(map(len, words)) < _LEAST:
            raise ValueError(f"A mention has fewer than {_LEAST} letters; give a longer one.")
        found.append(r"\s+".join(map(re.escape, words)))
    found.sort(key=len, reverse=True)  # a whole name before a part of it
    return re.compile("|".join(found), re.IGNORECASE) if found else None


def marking(pattern: re.Pattern[str] | None) -> Callable[[str], str] | None:
    """Return what puts a mark in the place of what a pattern finds in a text; None without one."""
    return None if pattern is None else partial(pattern.sub, MARK)


def forget_mentions(pattern: re.Pattern[str] | None, *, is_dry_run: bool = False) -> int:
    """Put a mark in the place of what a pattern finds in stored texts; delete cached answers.

    Every text is read, but of jobs: see `_job_erasing`. Returns how many rows and cached answers
    had something.
    """
    if pattern is None:
        return 0
    count = sum(_forget_in(*each, pattern, is_dry_run=is_dry_run) for each in _TEXTS)
    return count + erasing.forget_answers(pattern, is_dry_run=is_dry_run)


def _forget_in(
    model: type[models.Model],
    names: Sequence[str],
    pattern: re.Pattern[str],
    *,
    is_dry_run: bool,
) -> int:
    # Any: managers and rows of several models.
    manager: Any = model._default_manager
    rows: Any = manager.exclude(error_message="") if model is AIOperation else manager.all()
    count, after = 0, None
    while True:
        page = rows if after is None else rows.filter(pk__gt=after)
        found = list(page.order_by("pk").only("pk", *names)[:_AT_ONCE])
        if not found:
            return count
        after = found[-1].pk
        changed = [row for row in found if _change(row, names, pattern)]
        count += len(changed)
        if changed and not is_dry_run:
            manager.bulk_update(changed, names)


def _change(row: Any, names: Sequence[str], pattern: re.Pattern[str]) -> bool:
    """Leave out in a row what is found; return whether there was something."""
    new = {name: _without(getattr(row, name), pattern) for name in names}
    is_changed = any(getattr(row, name) != value for name, value in new.items())
    for name, value in new.items():
        setattr(row, name, value)
    return is_changed


def _without(value: Any, pattern: re.Pattern[str]) -> Any:
    """Return a text, or JSON of texts, without what is found; keys of JSON stay."""
    if isinstance(value, str):
        return pattern.sub(MARK, value)
    if isinstance(value, list):
        return [_without(each, pattern) for each in value]
    if isinstance(value, dict):
        return {name: _without(each, pattern) for name, each in value.items()}
    return value
