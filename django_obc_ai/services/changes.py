"""The outbox: noting changed rows in their own transaction, and waking the indexer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import models, router, transaction

from django_obc_ai.indexes import VectorIndex, generations, get_indexes


def mark_changed(model: type[models.Model], pks: Iterable[Any], *, using: str = "") -> None:
    """Tell every index of a model that rows changed in a way that sends no signal.

    Call it in the same transaction as ``QuerySet.update``, ``bulk_create``,
    ``bulk_update``, raw SQL, or a change of a related row that the text contains.

    Args:
        model: The model of the rows.
        pks: Their primary keys.
        using: Database alias; by default where the model is written.
    """
    alias = using or router.db_for_write(model)
    pks = list(pks)
    for index in get_indexes():
        if issubclass(model, index.model) or issubclass(index.model, model):
            mark_keys(index, [index.key_of_pk(pk) for pk in pks], using=alias)


def mark_keys(index: VectorIndex, keys: Sequence[str], *, using: str) -> None:
    """Write outbox rows for objects and wake the indexer when the transaction commits."""
    if using != index.database or not keys:  # another database's row is none of this index
        return
    generations.add_dirty(index, keys, using=using)
    transaction.on_commit(_Wake(index.name), using=using, robust=True)


class _Wake:
    """Works off an index's outbox after the commit; failures leave it for the next run."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self) -> None:
        from django_obc_ai.services.indexing import IndexingService  # numpy, at first use

        IndexingService().process_changes(self._name)
