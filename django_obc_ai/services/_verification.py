"""Proving that an index equals its queryset, and saying what a run would cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from django.utils import timezone

from django_obc_ai.backends.embedders import PaidEmbedder, embedders
from django_obc_ai.gateway.prices import bounding_price
from django_obc_ai.indexes import VectorIndex, contents, generations, get_index
from django_obc_ai.indexes.documents import Piece, hash_of, iterate_keys, read_documents
from django_obc_ai.indexes.forgetting import gone_of
from django_obc_ai.indexes.reuse import held_elsewhere
from django_obc_ai.models import Chunk, DirtyRow, IndexGeneration
from django_obc_ai.services._index_reports import IndexEstimate, IndexVerification
from django_obc_ai.services.embeddings import EmbeddingService

if TYPE_CHECKING:
    from django_obc_ai.services.indexing import IndexingService

_BATCH = 200
_SAMPLE = 64
_PER_MILLION = Decimal(1_000_000)
#: Number, start, end, text and content hash of a chunk.
_Row: TypeAlias = tuple[int, int, int, str, str]


class Verifying:
    """The part of `IndexingService` that compares and estimates, and writes nothing."""

    def verify(self, name: str, *, repair: bool = False) -> IndexVerification:
        """Compare every row of an index with its chunks, and every chunk with the rows.

        Texts are compared as texts, vectors by presence, length and finiteness. What
        differs is read twice, so that a row edited beside the comparison does not count.

        Args:
            name: Name of the index.
            repair: Bring up to date what differs, then compare again.

        Raises:
            UnknownIndexError: No such index.
        """
        report = _compare(get_index(name))
        if not repair or report.is_equal:
            return report
        service = cast("IndexingService", self)  # the class that this one is a part of
        if report.reason:
            service.index(name)
        keys = [*dict.fromkeys([*report.different, *report.broken, *report.dangling])]
        for start in range(0, len(keys), _BATCH):
            service.refresh(name, keys[start : start + _BATCH])
        service.process_changes(name)
        again = _compare(get_index(name))
        values = {field: getattr(again, field) for field in again.__slots__}
        return IndexVerification(**{**values, "repaired": len(keys)})

    def estimate(self, name: str) -> IndexEstimate:
        """Say what `index` would embed, and at most what that costs; writes nothing.

        A paid embedder is not called. For any other, some of the texts are embedded to
        measure its speed.

        Raises:
            UnknownIndexError: No such index.
        """
        index = get_index(name)
        service = EmbeddingService(index.embedder)
        fingerprint = generations.fingerprint_of(index, service.identity)
        serving = generations.serving_of(index)
        unfinished = [
            each for each in generations.generations_of(index, fingerprint) if not each.is_complete
        ]
        reason, target = "", serving
        if serving is None or serving.fingerprint != fingerprint:
            reason = "first build" if serving is None else "embedder or text template changed"
            target = unfinished[-1] if unfinished else None
            if target is None and not service.is_fitted:
                # Not saved: it only says which vectors of other generations would be reused.
                target = IndexGeneration(
                    embedder=hash_of(service.identity), dimension=service.dimension
                )
        rows = texts = tokens = 0
        unreadable: list[str] = []
        sample: list[str] = []
        for keys in iterate_keys(index, _BATCH, None):
            documents = read_documents(index, keys)
            unreadable += documents.broken
            rows += len(keys)
            missing = _missing(index, target, documents, keys)
            texts += len(missing)
            tokens += sum(len(text.encode()) for text in missing)
            sample += missing[: _SAMPLE - len(sample)]
        embedder = embedders[index.embedder]
        price_model = embedder.model if isinstance(embedder, PaidEmbedder) else ""
        return IndexEstimate(
            index=name,
            rows=rows,
            texts=texts,
            tokens=tokens,
            cost_usd=_cost(price_model, tokens),
            minutes=None if price_model else _minutes(service, sample, texts),
            unreadable=tuple(unreadable),
            reason=reason,
        )


def _missing(
    index: VectorIndex, target: IndexGeneration | None, documents: Any, keys: Sequence[str]
) -> list[str]:
    if target is None:
        pieces = [each for found in documents.pieces.values() for each in found]
        return list({each.content_hash: each.text for each in pieces}.values())
    wanted = contents.missing_hashes(index, target, documents, force=False)
    held = held_elsewhere(index, target, keys=keys, hashes=wanted.keys())
    return [text for content_hash, text in wanted.items() if content_hash not in held]


def _cost(model: str, tokens: int) -> Decimal | None:
    if not model:
        return Decimal(0)
    price = bounding_price(model, timezone.now())
    return None if price is None else price.input_usd * tokens / _PER_MILLION


def _minutes(service: EmbeddingService, sample: Sequence[str], texts: int) -> float:
    if not sample:
        return 0.0
    service.embed_documents(sample[:1])  # loads the model, which is not its speed
    began = time.monotonic()
    service.embed_documents(sample)
    return (time.monotonic() - began) / len(sample) * texts / 60


def _compare(index: VectorIndex) -> IndexVerification:
    identity = EmbeddingService(index.embedder).identity
    serving = generations.serving_of(index)
    if serving is None:
        return IndexVerification(index=index.name, reason="the index has not been built")
    if serving.fingerprint != generations.fingerprint_of(index, identity):
        return IndexVerification(
            index=index.name, reason="it was built with another embedder or text template"
        )
    rows = 0
    different: list[str] = []
    broken: list[str] = []
    unreadable: list[str] = []
    dangling: list[str] = []
    for keys in iterate_keys(index, _BATCH, None):
        rows += len(keys)
        found = _differences(index, serving, keys)
        again = _differences(index, serving, [*found[0], *found[1]])
        different += again[0]
        broken += again[1]
        unreadable += found[2]
    after = ""
    while held := contents.stored_keys(index, serving, after, _BATCH):
        after = held[-1]
        gone = gone_of(index, held)
        still = set(contents.held_keys(index, serving, gone))
        dangling += [key for key in gone_of(index, gone) if key in still]
    chunks = Chunk.objects.using(index.database).filter(generation=serving).count()
    outbox = DirtyRow.objects.using(index.database).filter(index_name=index.name)
    oldest = outbox.order_by("pk").values_list("created_at", flat=True).first()
    age = 0.0 if oldest is None else max(0.0, (timezone.now() - oldest).total_seconds())
    current = generations.serving_of(index)
    has_moved = current is None or current.pk != serving.pk
    return IndexVerification(
        index=index.name,
        rows=rows,
        chunks=chunks,
        different=() if has_moved else tuple(different),
        broken=() if has_moved else tuple(broken),
        dangling=() if has_moved else tuple(dangling),
        unreadable=tuple(unreadable),
        waiting=outbox.count(),
        waiting_seconds=age,
        reason="another generation took over meanwhile; verify again" if has_moved else "",
    )


def _differences(
    index: VectorIndex, serving: IndexGeneration, keys: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    """Return the keys that differ, those with broken vectors, and the unreadable ones."""
    if not keys:
        return [], [], []
    documents = read_documents(index, keys)
    held: dict[str, list[_Row]] = {key: [] for key in documents.pieces}
    bad: dict[str, None] = {}
    chunks = Chunk.objects.using(index.database).filter(
        generation=serving, object_key__in=list(documents.pieces)
    )
    for chunk in chunks.order_by("number"):
        place = (chunk.number, chunk.start, chunk.end)
        held[chunk.object_key].append((*place, chunk.text, chunk.content_hash))
        if not _is_sound(bytes(chunk.vector), serving.dimension):
            bad[chunk.object_key] = None
    different = [key for key, pieces in documents.pieces.items() if held[key] != _rows_of(pieces)]
    return different, list(bad), list(documents.broken)


def _rows_of(pieces: Sequence[Piece]) -> list[_Row]:
    return [
        (number, each.start, each.end, each.text, each.content_hash)
        for number, each in enumerate(pieces)
    ]


def _is_sound(vector: bytes, dimension: int) -> bool:
    if len(vector) != 4 * dimension:
        return False
    values = np.frombuffer(vector, dtype="<f4")
    length = float(np.linalg.norm(values))
    return bool(np.isfinite(values).all()) and (length == 0 or abs(length - 1) < 1e-3)
