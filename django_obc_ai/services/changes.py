"""The outbox: noting changed rows in their own transaction, and waking the indexer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import connections, models, router, transaction

from django_obc_ai.indexes import VectorIndex, generations, get_indexes

logger = logging.getLogger("django_obc_ai.indexing")


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
        if index.is_fed_by(model):
            mark_keys(index, [index.key_of_pk(pk) for pk in pks], using=alias)


def mark_keys(index: VectorIndex, keys: Sequence[str], *, using: str) -> None:
    """Write outbox rows for objects and wake the indexer when the transaction commits."""
    if using != index.database or not keys:  # another database's row is none of this index
        return
    generations.add_dirty(index, keys, using=using)
    waiting = connections[using].run_on_commit
    # One wake a transaction; an entry of a savepoint that is rolled back is gone from here.
    if not any(getattr(entry[1], "wakes", "") == index.name for entry in waiting):
        transaction.on_commit(_wake(index.name), using=using)


def _wake(name: str) -> Callable[[], None]:
    """Return a function that works off an index's outbox.

    It raises nothing: the rows are saved, and what fails here stays in the outbox.
    """

    def wake() -> None:
        try:
            from django_obc_ai.services.indexing import IndexingService  # numpy, at first use

            IndexingService().process_changes(name)
        except Exception:
            logger.exception(
                "The index %r was not brought up to date; the changes stay in its outbox."
                " Run: manage.py ai_index %s",
                name,
                name,
            )

    wake.__dict__["wakes"] = name
    return wake
