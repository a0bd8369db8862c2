"""The outbox: noting changed rows in their own transaction, and waking the indexer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections, models, router, transaction

from django_obc_ai.gateway import tags
from django_obc_ai.indexes import VectorIndex, get_index, get_indexes, outbox
from django_obc_ai.logs import events
from django_obc_ai.services import index_tasks, tasks
from django_obc_ai.services._watched import is_watched

_PAGE = 500  # below SQLite's limit on query parameters


def mark_changed(model: type[models.Model], pks: Iterable[Any], *, using: str = "") -> None:
    """Tell indexes and the response cache that rows changed in a way that sends no signal.

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
    if is_watched(model):
        tags.invalidate((tags.row_tag_of(model, pk) for pk in pks), using=alias)


@contextmanager
def marking(queryset: models.QuerySet[Any]) -> Iterator[None]:
    """Mark every row that a queryset has before or after the block; one transaction.

    For bulk writes and raw SQL::

        with marking(Clinic.objects.filter(town=old)):
            cursor.execute("UPDATE ...")

    Rows that only a concurrent writer moves into the queryset are that writer's to mark.
    """
    writing: Any = queryset.all()
    writing._for_write = True
    alias = writing.db
    rows = queryset.using(alias).order_by().values_list("pk", flat=True)
    with transaction.atomic(using=alias):
        pks = dict.fromkeys(rows.all())
        yield
        pks.update(dict.fromkeys(rows.all()))
        mark_changed(queryset.model, pks, using=alias)


class IndexedQuerySet(models.QuerySet[Any]):
    """A queryset whose bulk writes mark the rows they change, in the same transaction.

    Use it for a model's manager: ``objects = IndexedQuerySet.as_manager()``.
    """

    def update(self, **values: Any) -> int:
        """See QuerySet.update(); rows are read, updated and marked by primary key."""
        self._for_write = True
        alias = self.db
        with transaction.atomic(using=alias):
            pks = list(self.order_by().values_list("pk", flat=True))
            count = 0
            for start in range(0, len(pks), _PAGE):
                # By key: a row that begins to match meanwhile is not written unmarked.
                some = self.filter(pk__in=pks[start : start + _PAGE])
                count += super(IndexedQuerySet, some).update(**values)
            mark_changed(self.model, pks, using=alias)
        return count

    update.alters_data = True  # type: ignore[attr-defined]  # Django's mark for templates

    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        """See QuerySet.bulk_create().

        Where the database does not say which rows it wrote (``ignore_conflicts``), all rows
        of the model are marked.
        """
        self._for_write = True
        alias = self.db
        with transaction.atomic(using=alias):
            made = super().bulk_create(objs, *args, **options)
            pks = [each.pk for each in made]
            is_known = None not in pks and not options.get("update_conflicts")
            everything = self.model._base_manager.using(alias).values_list("pk", flat=True)
            mark_changed(self.model, pks if is_known else list(everything), using=alias)
        return made

    bulk_create.alters_data = True  # type: ignore[attr-defined]  # Django's mark for templates


def mark_dependents(index: VectorIndex, path: str, pks: Sequence[Any], *, using: str) -> None:
    """Mark the rows of an index that reach one of some rows by a relation path."""
    if using != index.database:
        return
    rows = index.model._base_manager.using(using).order_by()
    keys: dict[str, None] = {}
    for start in range(0, len(pks), _PAGE):
        found = rows.filter(**{f"{path}__in": pks[start : start + _PAGE]})
        for pk in found.values_list("pk", flat=True):
            keys[index.key_of_pk(pk)] = None
    mark_keys(index, list(keys), using=using)


def mark_keys(index: VectorIndex, keys: Sequence[str], *, using: str) -> None:
    """Write outbox rows for objects and wake the indexer when the transaction commits."""
    if using != index.database or not keys:  # another database's row is none of this index
        return
    outbox.add_dirty(index, keys, using=using)
    tags.invalidate([tags.index_tag(index.name)], using=using)
    waiting = connections[using].run_on_commit
    # One wake a transaction; an entry of a savepoint that is rolled back is gone from here.
    if not any(getattr(entry[1], "wakes", "") == index.name for entry in waiting):
        transaction.on_commit(_wake(index.name), using=using)


def _wake(name: str) -> Callable[[], None]:
    """Return a function that works off an index's outbox, or sends for a worker who does.

    It raises nothing: the rows are saved, and what fails here stays in the outbox.
    """

    def wake() -> None:
        try:
            if tasks.has_workers():
                index_tasks.send_for_worker(get_index(name))
                return
            from django_obc_ai.services.indexing import IndexingService  # numpy, at first use

            IndexingService().process_changes(name)
        except Exception as error:  # noqa: BLE001 - the caller's rows are committed
            events.INDEXES_UPDATE_FAILED.log(about=name, error=error, index=name)

    wake.__dict__["wakes"] = name
    return wake
