"""Taking out of every generation of an index what its objects no longer say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from django_obc_ai.indexes import contents, failures, generations
from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.models import DirtyRow, IndexGeneration, IndexState

_AT_ONCE = 200


def gone_of(index: VectorIndex, keys: Sequence[str]) -> list[str]:
    """Return which of these objects are no rows of an index, in order."""
    pks = [pk for key in keys if (pk := index.pk_of(key)) is not None]
    live = index.get_queryset().using(index.database).order_by().filter(pk__in=pks)
    alive = {index.key_of_pk(pk) for pk in live.values_list("pk", flat=True)}
    return [key for key in keys if key not in alive]


def forget_gone(index: VectorIndex) -> int:
    """Remove the chunks of objects that are no rows any more; return how many there were.

    From every generation: what other settings serve or build, and what nobody serves. That
    such an object could not be indexed is forgotten, too.
    """
    count, after = 0, ""
    while keys := failures.keys_after(index, after, _AT_ONCE):
        after = keys[-1]
        failures.clear(index, gone_of(index, keys))
    for generation in _generations(index):
        after = ""
        while keys := contents.stored_keys(index, generation, after, _AT_ONCE):
            after = keys[-1]
            if gone := gone_of(index, keys):
                count += _remove(index, generation, gone, only_gone=True)
    return count


def forget_changed(index: VectorIndex, *, except_in: str, failed: Collection[str] = ()) -> int:
    """Remove the chunks of objects that wait in the outbox; return how many there were.

    They stay in the outbox, and come back with what they say by then.

    Args:
        index: The index.
        except_in: Fingerprint of the generations that have been brought up to date.
        failed: Objects of which not even those are; removed there, too.
    """
    count = 0
    for generation in _generations(index):
        is_done = generation.fingerprint == except_in
        for keys in _waiting(index):
            wanted = [key for key in keys if key in failed] if is_done else keys
            if wanted:
                count += _remove(index, generation, wanted, only_gone=False)
    return count


def waiting_of(index: VectorIndex) -> set[str]:
    """Return the objects that wait in the outbox."""
    return {key for keys in _waiting(index) for key in keys}


def undeclared(aliases: Collection[str], names: Collection[str]) -> list[str]:
    """Return indexes that databases hold and the project no longer declares."""
    found: set[str] = set()
    for alias in aliases:
        states = IndexState.objects.using(alias).exclude(name__in=list(names))
        found.update(states.values_list("name", flat=True))
    return sorted(found)


def _generations(index: VectorIndex) -> list[IndexGeneration]:
    return list(IndexGeneration.objects.using(index.database).filter(index_id=index.name))


def _waiting(index: VectorIndex) -> Iterator[list[str]]:
    rows = DirtyRow.objects.using(index.database).filter(index_name=index.name)
    after = ""
    while keys := list(
        rows.filter(object_key__gt=after)
        .order_by("object_key")
        .values_list("object_key", flat=True)
        .distinct()[:_AT_ONCE]
    ):
        after = keys[-1]
        yield keys


def _remove(
    index: VectorIndex, generation: IndexGeneration, keys: Sequence[str], *, only_gone: bool
) -> int:
    def work(state: IndexState) -> int:
        # Looked at again: an object of that key may have come back.
        now = gone_of(index, keys) if only_gone else keys
        return contents.remove_objects(index, generation, state.version, now)

    return generations.write(index, work)
