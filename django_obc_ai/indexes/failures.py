"""Objects that could not be indexed: noted by the write that tried, gone once they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from django.db import models
from django.db.models import F
from django.utils import timezone

from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.models import IndexFailure

_PAGE = 400  # below SQLite's limit on query parameters
_NAME_LENGTH = 200


def failed_of(index: VectorIndex, keys: Sequence[str]) -> set[str]:
    """Return which of these objects could not be indexed when they were last tried."""
    found: set[str] = set()
    for start in range(0, len(keys), _PAGE):
        rows = _rows(index).filter(object_key__in=keys[start : start + _PAGE])
        found.update(rows.values_list("object_key", flat=True))
    return found


def note(index: VectorIndex, errors: Mapping[str, Exception]) -> None:
    """Note what failed, inside a `write`: the name of the exception's class and nothing else."""
    if not errors:
        return
    now = timezone.now()
    known = failed_of(index, list(errors))
    for key in known:
        _rows(index).filter(object_key=key).update(
            error=_name_of(errors[key]), attempts=F("attempts") + 1, last_at=now
        )
    fresh = [
        IndexFailure(
            index_name=index.name,
            object_key=key,
            error=_name_of(error),
            first_at=now,
            last_at=now,
        )
        for key, error in errors.items()
        if key not in known
    ]
    IndexFailure.objects.using(index.database).bulk_create(fresh, batch_size=_PAGE)


def clear(index: VectorIndex, keys: Collection[str]) -> None:
    """Forget the failures of objects that are indexed now, or gone."""
    wanted = list(keys)
    for start in range(0, len(wanted), _PAGE):
        _rows(index).filter(object_key__in=wanted[start : start + _PAGE]).delete()


def keys_after(index: VectorIndex, after: str, size: int) -> list[str]:
    """Return the next objects that could not be indexed, in order of the key."""
    rows = _rows(index).filter(object_key__gt=after).order_by("object_key")
    return list(rows.values_list("object_key", flat=True)[:size])


def _rows(index: VectorIndex) -> models.QuerySet[IndexFailure]:
    return IndexFailure.objects.using(index.database).filter(index_name=index.name)


def _name_of(error: Exception) -> str:
    return type(error).__name__[:_NAME_LENGTH]
