"""Objects that could not be indexed: listing them, and having them tried again."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import models, transaction

from django_obc_ai.indexes import VectorIndex, failures, get_index, outbox
from django_obc_ai.models import IndexFailure
from django_obc_ai.services import tasks
from django_obc_ai.services.changes import mark_keys
from django_obc_ai.services.index_requests import AT_ONCE

_PAGE = 500


def read_failures(name: str) -> models.QuerySet[IndexFailure]:
    """Return the objects of an index that could not be indexed, in order of the key.

    Raises:
        UnknownIndexError: No such index.
    """
    index = get_index(name)
    rows = IndexFailure.objects.using(index.database).filter(index_name=name)
    return rows.order_by("object_key")


def retry_failures(name: str, keys: Sequence[str] | None = None) -> int:
    """Have objects that could not be indexed tried again; return how many.

    They are put into the outbox. The indexer is woken, as by a save; without workers it is
    called at once, and more than 200 objects wait for ``ai_index --sweep`` or for the next
    search, which takes them up.

    Args:
        name: Of the index.
        keys: Primary keys as text; those that have not failed are left out. None: all.

    Raises:
        UnknownIndexError: No such index.
    """
    index = get_index(name)
    wanted = _failed(index, keys)
    with transaction.atomic(using=index.database):
        if len(wanted) <= AT_ONCE or tasks.has_workers():
            mark_keys(index, wanted, using=index.database)
        else:
            outbox.add_dirty(index, wanted)
    return len(wanted)


def _failed(index: VectorIndex, keys: Sequence[str] | None) -> list[str]:
    if keys is not None:
        known = failures.failed_of(index, keys)
        return [key for key in dict.fromkeys(keys) if key in known]
    found: list[str] = []
    while page := failures.keys_after(index, found[-1] if found else "", _PAGE):
        found += page
    return found
