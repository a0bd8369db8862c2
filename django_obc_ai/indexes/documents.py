"""From rows to hashed chunks: what an index should hold for given keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.indexes.chunking import TextSpan
from django_obc_ai.logs import events


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One chunk as it should be.

    Attributes:
        text: The chunk's text.
        content_hash: SHA-256 of the text, 64 hex digits.
        start: Where it begins in the object's whole text, in characters.
        end: Where it ends, exclusive.
    """

    text: str
    content_hash: str
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What the index should hold now for a set of keys.

    Attributes:
        pieces: By key, the chunks in order; [] for rows that are gone, filtered out or
            without text.
        broken: Keys whose text could not be computed, with the error; left as they are.
        wholes: By key, the hash of the whole text that the pieces are of.
    """

    pieces: dict[str, list[Piece]]
    broken: dict[str, Exception]
    wholes: dict[str, str] = field(default_factory=dict)


def read_documents(
    index: VectorIndex, keys: Sequence[str], *, known: Documents | None = None
) -> Documents:
    """Read live rows and return what the index should hold for their keys.

    Args:
        index: The index.
        keys: Keys of objects.
        known: What was read just before; texts that are the same are not split again.

    Raises:
        ConfigurationError: No text can be split: the embedder cannot count its tokens, or a
            package is missing.
    """
    by_pk = {index.pk_of(key): key for key in keys}
    by_pk.pop(None, None)
    rows = index.get_queryset().using(index.database).filter(pk__in=list(by_pk))
    pieces: dict[str, list[Piece]] = {key: [] for key in keys}
    broken: dict[str, Exception] = {}
    wholes: dict[str, str] = {}
    for instance in rows:
        key = index.key_of(instance)
        try:
            text = _storable(index.get_text(instance))
            whole = hash_of(text)
        except Exception as error:  # noqa: BLE001 - the project's get_text may raise anything
            events.INDEXES_TEXT_FAILED.log(
                about=index.name, error=error, index=index.name, object_key=key
            )
            broken[key] = error
            pieces.pop(key, None)
            continue
        wholes[key] = whole
        if known is not None and known.wholes.get(key) == whole:
            pieces[key] = known.pieces[key]
        else:
            pieces[key] = [_piece_of(span) for span in index.split(text)]
    return Documents(pieces=pieces, broken=broken, wholes=wholes)


def _storable(text: str) -> str:
    if "\x00" in text:  # PostgreSQL has no such text, and would refuse the whole batch
        raise ValueError("The text holds a NUL character.")
    return text


def _piece_of(span: TextSpan) -> Piece:
    return Piece(text=span.text, content_hash=hash_of(span.text), start=span.start, end=span.end)


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
