"""The outbox of an index: which objects changed and wait to be indexed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Max

from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.models import DirtyRow


def last_dirty(index: VectorIndex) -> int:
    """Return the id of the newest outbox row of an index, 0 if there is none."""
    rows = DirtyRow.objects.using(index.database).filter(index_name=index.name)
    newest: int | None = rows.aggregate(newest=Max("pk"))["newest"]
    return newest or 0


def take_dirty(index: VectorIndex, after: int, end: int, size: int) -> list[tuple[int, str]]:
    """Return the next outbox rows of an index, up to an id, as (id, key), oldest first."""
    rows = DirtyRow.objects.using(index.database).filter(
        index_name=index.name, pk__gt=after, pk__lte=end
    )
    return list(rows.order_by("pk").values_list("pk", "object_key")[:size])


def still_dirty(index: VectorIndex, ids: Sequence[int]) -> set[int]:
    """Return which outbox rows of these are still there."""
    rows = DirtyRow.objects.using(index.database).filter(pk__in=list(ids))
    return set(rows.values_list("pk", flat=True))


def add_dirty(index: VectorIndex, keys: Sequence[str], *, using: Any = None) -> None:
    """Write outbox rows for changed objects into the caller's own transaction."""
    DirtyRow.objects.using(using or index.database).bulk_create(
        [DirtyRow(index_name=index.name, object_key=key) for key in keys], batch_size=500
    )


def clear_dirty(index: VectorIndex, ids: Sequence[int]) -> None:
    """Delete outbox rows that have been dealt with, inside a `write`."""
    DirtyRow.objects.using(index.database).filter(pk__in=list(ids)).delete()
