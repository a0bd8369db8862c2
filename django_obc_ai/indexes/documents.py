"""From rows to hashed chunks: what an index should hold for given keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.logs import events


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One chunk as it should be.

    Attributes:
        text: The chunk's text.
        content_hash: SHA-256 of the text, 64 hex digits.
    """

    text: str
    content_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What the index should hold now for a set of keys.

    Attributes:
        pieces: By key, the chunks in order; [] for rows that are gone, filtered out or
            without text.
        broken: Keys whose text could not be computed, with the error; left as they are.
    """

    pieces: dict[str, list[Piece]]
    broken: dict[str, Exception]


def read_documents(index: VectorIndex, keys: Sequence[str]) -> Documents:
    """Read live rows and return what the index should hold for their keys."""
    by_pk = {index.pk_of(key): key for key in keys}
    by_pk.pop(None, None)
    rows = index.get_queryset().using(index.database).filter(pk__in=list(by_pk))
    pieces: dict[str, list[Piece]] = {key: [] for key in keys}
    broken: dict[str, Exception] = {}
    for instance in rows:
        key = index.key_of(instance)
        try:
            texts = index.split(instance)
        except Exception as error:  # noqa: BLE001 - the project's get_text may raise anything
            events.INDEXES_TEXT_FAILED.log(
                about=index.name, error=error, index=index.name, object_key=key
            )
            broken[key] = error
            pieces.pop(key, None)
            continue
        pieces[key] = [Piece(text=text, content_hash=hash_of(text)) for text in texts]
    return Documents(pieces=pieces, broken=broken)


def hash_of(text: str) -> str:
    """Return the SHA-256 of a text as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def iterate_keys(index: VectorIndex, batch_size: int, limit: int | None) -> Iterator[list[str]]:
    """Yield the keys of the index's rows in batches, in order of the primary key.

    Each batch is a query of its own that continues after the last key, so nothing is
    held open while a batch is worked on. It ends at the key that is the last one now:
    rows that are added meanwhile are in the outbox, and would never let it end.
    """
    rows = index.get_queryset().using(index.database).select_related(None).order_by("pk")
    end = rows.values_list("pk", flat=True).last()
    if end is None:
        return
    rows = rows.filter(pk__lte=end)
    last: Any = None
    left = limit
    while left is None or left > 0:
        size = batch_size if left is None else min(batch_size, left)
        page = rows if last is None else rows.filter(pk__gt=last)
        pks = list(page.values_list("pk", flat=True)[:size])
        if not pks:
            return
        yield [index.key_of_pk(pk) for pk in pks]
        last = pks[-1]
        left = None if left is None else left - len(pks)


def iterate_texts(index: VectorIndex, batch_size: int) -> Iterator[str]:
    """Yield every chunk text of the whole index; for fitting."""
    for keys in iterate_keys(index, batch_size, None):
        for pieces in read_documents(index, keys).pieces.values():
            yield from (piece.text for piece in pieces)
