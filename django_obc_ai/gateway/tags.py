"""Cache tags: by their versions an answer made of old data is told from one made of new.

A version is a random text in the cache, read before the data; an answer is stored with it and
served only while it is still there. Data that changed *drop* the version, and whoever needs one
next makes up another, so that writers leave nothing behind in the cache, and a version that was
lost in any other way makes misses and never a stale answer.

It is dropped when the transaction that changed the data commits, before any other hook of that
commit runs; a rollback drops nothing. Until then the transaction itself neither reads nor stores
answers under the tag (`is_uncertain`): what it sees is nobody else's yet.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from django.core.cache import BaseCache
from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_obc_ai.logs import events
from django_obc_ai.models.writer import transaction_of

_TTL_SECONDS = 90 * 86_400
_AT_ONCE = 1_000
#: Keys that could not be dropped: dropped before this process reads any version again.
_owed: set[str] = set()


class _Drop:
    """Drops the versions of tags when the transaction commits that it waits in."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.is_done = False

    def __call__(self) -> None:
        self.is_done = True  # a TestCase runs its hooks and keeps them
        _drop(self.names)


def read_versions(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return each tag with its present version; call it before reading the data.

    A version that is missing is made up and stored. If the cache fails, none fits any entry.
    """
    wanted = {_key(name): name for name in sorted(set(names))}
    cache = _cache()
    if cache is None or not wanted:
        return ()
    try:
        if _owed:
            _drop(())
        if _owed:  # still: what is in the cache is not to be trusted
            found = {}
        else:
            found = cache.get_many(wanted)
            for key in wanted.keys() - found.keys():
                cache.add(key, secrets.token_hex(8), _TTL_SECONDS)
                found[key] = cache.get(key) or secrets.token_hex(8)
    except Exception as error:  # noqa: BLE001 - any client library: unknown versions make a miss
        events.CACHE_TAGS_FAILED.log(error=error)
        found = {}
    return tuple((name, found.get(key) or secrets.token_hex(8)) for key, name in wanted.items())


def invalidate(names: Iterable[str], *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Make every answer under one of the tags unusable once what changed is committed.

    Without a transaction on the database ``using``, or with autocommit switched off, it happens
    at once.
    """
    wanted = set(names)
    if not wanted:
        return
    connection = connections[using]
    if not connection.in_atomic_block:
        _drop(wanted)
        return
    # First of all hooks: one that is slow, that fails or that asks for an answer comes later.
    hooks = connection.run_on_commit
    first = hooks[0] if hooks else None
    if (
        first is not None
        and isinstance(first[1], _Drop)
        and not first[1].is_done
        and first[0] == set(connection.savepoint_ids)  # undone by the same rollback
    ):
        first[1].names |= wanted
    else:
        transaction.on_commit(_Drop(wanted), using=using)
        hooks.insert(0, hooks.pop())


def is_uncertain(names: Iterable[str]) -> bool:
    """Return whether this thread's transactions may see other data than the tags' versions tell.

    One that changed data under a tag does. So does every transaction that sees the database as
    it was when it began: its data may be older than a version that it reads now.
    """
    wanted = set(names)
    return bool(wanted) and any(
        _sees_the_past(connection)
        or any(not wanted.isdisjoint(drop.names) for drop in _waiting(connection))
        for connection in connections.all(initialized_only=True)
    )


def _waiting(connection: BaseDatabaseWrapper) -> Iterator[_Drop]:
    for entry in connection.run_on_commit:
        if not isinstance(entry[1], _Drop):
            return  # they are the first
        if not entry[1].is_done:
            yield entry[1]


def _sees_the_past(connection: BaseDatabaseWrapper) -> bool:
    if transaction_of(connection.alias) != "caller":
        return False
    # What each database calls its isolation is an attribute of its own wrapper, once connected.
    if connection.vendor == "sqlite":
        mode = getattr(connection, "transaction_mode", None)
        # Whoever may write from the start is the only one who may, from then on.
        return not (connection.in_atomic_block and mode in ("IMMEDIATE", "EXCLUSIVE"))
    level: Any = getattr(connection, "isolation_level", None)
    if connection.vendor == "postgresql":
        return getattr(level, "name", "") != "READ_COMMITTED"
    return connection.vendor != "oracle" and level != "read committed"


def _drop(names: Iterable[str]) -> None:
    """Drop versions now, and those that are owed; raises nothing, the data are committed."""
    keys = [*{_key(name) for name in names}, *_owed]
    try:
        cache = _cache()
        if cache is None:
            return
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            cache.delete_many(part)
            _owed.difference_update(part)
    except Exception as error:  # noqa: BLE001 - any client library
        _owed.update(keys)
        events.CACHE_NOT_INVALIDATED.log(tags=len(keys), error=error)


def _cache() -> BaseCache | None:
    from django_obc_ai.gateway.cache import configured_cache  # not when Django starts

    return configured_cache()


def _key(name: str) -> str:
    from django_obc_ai.gateway.cache_key import digest

    return f"django_obc_ai:tag:{digest('tag', name)}"


def index_tag(name: str) -> str:
    """Return the tag of all rows of an index."""
    return f"index:{name}"


def row_tags(instance: models.Model) -> list[str]:
    """Return the tags of a row, the one that it is named by first.

    There are more than one if the model inherits from two models that have tables of their own.

    Raises:
        ValueError: The row has no primary key yet.
    """
    if instance.pk is None:
        raise ValueError(f"A {instance._meta.label} without a primary key has no tag; save it.")
    return [
        _row_tag(root, getattr(instance, root._meta.pk.attname)) for root in _roots(type(instance))
    ]


def row_tag_of(model: type[models.Model], pk: Any) -> str:
    """Return the tag of the row with a primary key, also one that was written as text."""
    return _row_tag(_roots(model)[0], pk)


def _row_tag(root: type[models.Model], pk: Any) -> str:
    field: Any = root._meta.pk
    # In the one form its field gives it; the field reads the value off an object.
    bare = SimpleNamespace(**{field.attname: field.to_python(pk)})
    return f"row:{root._meta.label_lower}:{field.value_to_string(bare)}"


@functools.cache
def _roots(model: type[models.Model]) -> tuple[type[models.Model], ...]:
    """Return the models whose rows name a row of a model, the one that has its key first.

    A child and its parents are one object: a save of either changes what is read of the other.
    """
    concrete = model._meta.concrete_model or model
    first: Any = concrete
    while first._meta.pk.remote_field is not None and first._meta.pk.remote_field.parent_link:
        first = first._meta.pk.remote_field.model._meta.concrete_model
    parents = concrete._meta.get_parent_list()
    others = [each for each in parents if not each._meta.parents and each is not first]
    return (first, *others)
