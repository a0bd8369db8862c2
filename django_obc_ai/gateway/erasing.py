"""Letting operations be nobody's: rows of the ledger, files that wait for it, cached answers.

What was counted and paid stays. What could name a person goes: the user, what an error said, and
the keyed hash by which equal prompts are told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django_obc_ai.gateway import cache, spool
from django_obc_ai.models import AIOperation

_AT_ONCE = 500


def count_rows(user_id: Any) -> tuple[int, int]:
    """Return how many rows are a user's, and how many name an entry of the response cache."""
    rows = AIOperation.objects.filter(user_id=user_id).order_by()
    return rows.count(), rows.exclude(cache_entry=None).count()


def detach_rows(user_id: Any) -> tuple[int, int]:
    """Delete the cached answers of a user's operations, and then let the rows be nobody's.

    In batches, each of which is one statement. Where the cache fails, the rows that name its
    entries stay as they are, to be found again.

    Returns:
        How many rows there were, and how many named an entry.

    Raises:
        Exception: Whatever the cache raises.
    """
    mine = AIOperation.objects.filter(user_id=user_id).order_by()
    count = named = 0
    while rows := list(mine.values_list("pk", "cache_entry")[:_AT_ONCE]):
        entries = [entry for _, entry in rows if entry is not None]
        cache.forget(entries)
        mine.filter(pk__in=[pk for pk, _ in rows]).update(
            user_id=None,
            error_message="",
            prompt_hash="",
            cache_entry=None,
        )
        count, named = count + len(rows), named + len(entries)
    return count, named


def forget_answers(pattern: re.Pattern[str], *, is_dry_run: bool = False) -> int:
    """Delete the cached answers, of anybody, in which a pattern is found; return how many.

    They are looked for by the rows that name them.

    Raises:
        Exception: Whatever the cache raises.
    """
    named = AIOperation.objects.exclude(cache_entry=None).order_by("pk")
    count, after = 0, None
    while True:
        rows = named if after is None else named.filter(pk__gt=after)
        found = list(rows.values_list("pk", "cache_entry")[:_AT_ONCE])
        if not found:
            return count
        after = found[-1][0]
        texts = cache.texts_of({entry for _, entry in found if entry is not None})
        matching = [entry for entry, text in texts.items() if pattern.search(text)]
        count += len(matching)
        if not is_dry_run:
            cache.forget(matching)


def count_files(user_id: Any, alias: str) -> int:
    """Return how many files on this machine hold an operation of a user."""
    return sum(1 for _ in _files(user_id, alias))


def detach_files(user_id: Any, alias: str) -> int:
    """Do the same with what waits on this machine's disk, or was set aside there.

    A file that another process takes up meanwhile may come back; its row is known then.
    """
    count = 0
    for path, operation in _files(user_id, alias):
        if operation.cache_entry is not None:
            cache.forget([operation.cache_entry])
        operation.user_id = operation.cache_entry = None
        operation.error_message = operation.prompt_hash = ""
        spool.put(path.parent, path.name, spool.dump(operation), is_durable=True)
        count += 1
    return count


def _files(user_id: Any, alias: str) -> Iterator[tuple[Path, AIOperation]]:
    folder = spool.get_folder()
    if folder is None or not folder.is_dir():
        return
    for path in sorted(folder.rglob(f"{spool.mark_of(alias)}-*")):
        if path.suffix not in (spool.SUFFIX, spool.REFUSED):
            continue
        operation = spool.read(path)
        if operation is not None and str(operation.user_id) == str(user_id):
            yield path, operation
