"""The response cache for projects: tags of the data that answers are made of, and statistics."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from django.db import DEFAULT_DB_ALIAS, models

from django_obc_ai.gateway import tags as versions
from django_obc_ai.indexes import get_index
from django_obc_ai.models import AIOperation
from django_obc_ai.services._watched import names_of


class TagVersions(tuple[tuple[str, str], ...]):
    """Cache tags with the versions they had when `read_tags` saw them."""

    __slots__ = ()


def read_tags(*tags: str | models.Model) -> TagVersions:
    """Return tags with their present versions, for ``cache_tags``.

    Call it before reading the rows that the answer is made of: an answer of rows that change
    in the meantime is then never served from the cache.

    Args:
        tags: Names, or rows of a model that an index or ``OBC_AI["CACHE"]["models"]`` has.

    Raises:
        TypeError: A tag is neither a text nor such a row.
    """
    return TagVersions(versions.read_versions(names_of(tags)) if tags else ())


def invalidate(*, tags: Iterable[str | models.Model], using: str = DEFAULT_DB_ALIAS) -> None:
    """Make every cached answer under one of these tags unusable, in all processes.

    Inside a transaction it happens at the commit, before any other of its hooks; a rollback
    invalidates nothing. It raises nothing if the cache fails: the data have changed. This
    process tries again before it reads a version.

    Args:
        tags: Names, or rows.
        using: Alias of the database whose transaction it is.

    Raises:
        TypeError: A tag is neither a text nor a row whose changes are noticed.
    """
    if isinstance(tags, (str, models.Model)):
        raise TypeError(f"tags is a {type(tags).__name__}; give a list.")
    versions.invalidate(names_of(tags), using=using)


def tag_of(instance: models.Model) -> str:
    """Return the tag of one row: ``row:app_label.model:pk``.

    Raises:
        ValueError: The row has no primary key yet.
    """
    return versions.row_tags(instance)[0]


def tag_of_index(name: str) -> str:
    """Return the tag of all rows of an index, and so of what a search in it finds.

    Raises:
        UnknownIndexError: No such index.
    """
    return versions.index_tag(get_index(name).name)


StatisticsKey = Literal["module", "content_type"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatistics:
    """What the response cache did for some calls.

    Attributes:
        module: Of the calls; None if it was not asked for.
        content_type: Of the calls; None if it was not asked for.
        hits: Calls that it answered.
        misses: Calls that looked into it, and that it did not answer.
        coalesced: Calls that another one answered, which asked the same at the same time.
        stores: Answers that were stored.
        bytes: What these took, compressed.
        saved_usd: What hits and coalesced calls cost when they were paid for.
    """

    module: str | None = None
    content_type: str | None = None
    hits: int
    misses: int
    coalesced: int
    stores: int
    bytes: int
    saved_usd: Decimal

    @property
    def hit_rate(self) -> float:
        """Return the share, from 0 to 1, of calls that could be a hit and were."""
        looked = self.hits + self.misses + self.coalesced
        return self.hits / looked if looked else 0.0


def cache_statistics(
    first: datetime.date,
    last: datetime.date,
    *,
    by: Sequence[StatisticsKey] = ("module", "content_type"),
) -> list[CacheStatistics]:
    """Return what the response cache did on the days first to last, in one query.

    The figures are those of the ledger: exact, and of all processes and machines. Days whose
    operations were purged are not in them.

    Args:
        first: In the project's time zone.
        last: Included.
        by: What calls are told apart by; empty for one sum of all.

    Returns:
        In order of ``by``; groups without a call that used the cache are left out.

    Raises:
        ValueError: ``by`` holds something else, or last lies before first.
    """
    if last < first:
        raise ValueError(f"The last day {last} lies before the first {first}.")
    unknown = set(by) - {"module", "content_type"}
    if unknown:
        raise ValueError(f"by has {min(unknown)!r}; give 'module', 'content_type' or both.")
    rows = AIOperation.objects.between(first, last).cache_statistics(by)
    return [
        CacheStatistics(coalesced=row.pop("shared"), saved_usd=row.pop("saved"), **row)
        for row in rows
    ]
