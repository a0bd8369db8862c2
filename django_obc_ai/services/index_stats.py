"""Figures of an index: what it holds, how far it is behind, and what is under way.

Cheap with a million chunks: nothing but indexes of the database is counted, and only up to
100,000 entries where the database can estimate the rest. Sizes of texts come from a sample.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.utils import timezone

from django_obc_ai.backends.lexical_stores import lexical_stores
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.exceptions import ConfigurationError, ObcAIError
from django_obc_ai.indexes import VectorIndex, generations, get_index
from django_obc_ai.models import DirtyRow, IndexFailure, IndexGeneration, IndexState
from django_obc_ai.services._chunk_figures import ChunkFigures, figures_of

#: A build that nobody has written to for so long is not under way any more.
STOPPED_AFTER = datetime.timedelta(seconds=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStats:
    """One generation of an index.

    Attributes:
        id: Its key.
        created_at: When its build began.
        updated_at: When somebody last worked on the build: about when it was finished.
        embedder: The embedder's identity, its first 100 characters.
        fingerprint: Hash of embedder, chunker and text template.
        dimension: Components of a vector.
        fitted_count: Objects that the embedder has learned from.
        chunks: Pieces of text.
        objects: Objects that have any.
        vector_bytes: Size of their vectors in the chunk table.
        text_bytes: Size of their texts in UTF-8.
        estimated: Names of those of the four that are estimates.
    """

    id: UUID
    created_at: datetime.datetime
    updated_at: datetime.datetime
    embedder: str
    fingerprint: str
    dimension: int
    fitted_count: int
    chunks: int
    objects: int
    vector_bytes: int
    text_bytes: int
    estimated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStats:
    """A generation that is not finished.

    Attributes:
        generation: What it holds by now.
        is_running: Whether somebody has worked on it in the last two minutes.
        share: What part of the index's rows it holds, 0 to 1.
        seconds_left: How long the rest takes at its average pace; None where nobody can tell.
    """

    generation: GenerationStats
    is_running: bool
    share: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """The vector store of an index, as this process sees it.

    Attributes:
        alias: In ``OBC_AI["VECTOR_STORES"]``.
        backend: Name of its class; "" if it cannot be built.
        disk_bytes: Size of its files on this machine; None if it has none.
        held_version: Version of the index that it holds; None if it holds nothing yet.
        approximate: Kind of approximate index that it holds, "" if none.
    """

    alias: str
    backend: str
    disk_bytes: int | None
    held_version: int | None
    approximate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStats:
    """Figures of one index.

    Attributes:
        name: Of the index.
        model: Its model, as ``app_label.ModelName``.
        rows: Rows of its queryset.
        version: Number of its last write.
        waiting: Changes that are not indexed yet.
        lag_seconds: Age of the oldest of them; 0.0 if there is none.
        failures: Objects that could not be indexed when they were last tried.
        is_current: Whether what serves was built with the present settings.
        recall: Measured recall@10 that allows approximate search; None searches exactly.
        embedder: Alias in ``OBC_AI["EMBEDDERS"]``.
        serving: What searches use; None if the index was never built.
        builds: Generations that are not finished, the oldest first.
        store: Its vector store.
        words_bytes: Size of the files of its words on this machine; None if it has none.
        fault: Why embedder or vector store cannot be asked, "" if they can.
    """

    name: str
    model: str
    rows: int
    version: int
    waiting: int
    lag_seconds: float
    failures: int
    is_current: bool
    recall: float | None
    embedder: str
    serving: GenerationStats | None
    builds: tuple[BuildStats, ...]
    store: StoreStats
    words_bytes: int | None
    fault: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON has them: times in ISO 8601, keys as text."""
        found: dict[str, Any] = _plain(dataclasses.asdict(self))
        return found


def index_stats(name: str) -> IndexStats:
    """Return the figures of one index.

    Raises:
        UnknownIndexError: No such index.
    """
    from django_obc_ai.services.indexing import IndexingService  # numpy: not at start-up

    index = get_index(name)
    alias = index.database
    state = IndexState.objects.using(alias).select_related("serving").filter(pk=name).first()
    serving = None if state is None else state.serving
    rows = index.get_queryset().using(alias).count()
    waiting = DirtyRow.objects.using(alias).filter(index_name=name)
    oldest = waiting.order_by("pk").values_list("created_at", flat=True).first()
    is_current, fault = False, ""
    try:
        is_current = serving is not None and IndexingService().is_current(name)
    except (ObcAIError, ConfigurationError) as error:
        fault = str(error)
    store, store_fault = _store_of(index, state)
    age = 0.0 if oldest is None else max(0.0, (timezone.now() - oldest).total_seconds())
    return IndexStats(
        name=name,
        model=index.model._meta.label,
        rows=rows,
        version=0 if state is None else state.version,
        waiting=waiting.count(),
        lag_seconds=age,
        failures=IndexFailure.objects.using(alias).filter(index_name=name).count(),
        is_current=is_current,
        recall=None if state is None else state.recall,
        embedder=index.embedder,
        serving=None if serving is None else _generation(serving, figures_of(index, serving)),
        builds=tuple(_build(index, each, rows) for each in _unfinished(index, serving)),
        store=store,
        words_bytes=_words_bytes(index, state),
        fault=fault or store_fault,
    )


def _unfinished(index: VectorIndex, serving: IndexGeneration | None) -> list[IndexGeneration]:
    found = IndexGeneration.objects.using(index.database).filter(
        index_id=index.name, is_complete=False
    )
    found = found.exclude(fingerprint=generations.RETIRED).order_by("created_at")
    return [each for each in found if serving is None or each.pk != serving.pk]


def _generation(generation: IndexGeneration, figures: ChunkFigures) -> GenerationStats:
    identity, _, fingerprint = generation.fingerprint.rpartition("|")
    return GenerationStats(
        id=generation.pk,
        created_at=generation.created_at,
        updated_at=generation.updated_at,
        embedder=identity,
        fingerprint=fingerprint,
        dimension=generation.dimension,
        fitted_count=generation.fitted_count,
        chunks=figures.chunks,
        objects=figures.objects,
        vector_bytes=figures.chunks * generation.dimension * 4,
        text_bytes=figures.text_bytes,
        estimated=figures.estimated,
    )


def _build(index: VectorIndex, generation: IndexGeneration, rows: int) -> BuildStats:
    found = _generation(generation, figures_of(index, generation))
    is_running = timezone.now() - generation.updated_at < STOPPED_AFTER
    left = None
    if is_running and found.objects:
        passed = (generation.updated_at - generation.created_at).total_seconds()
        left = passed / found.objects * max(0, rows - found.objects)
    share = min(1.0, found.objects / rows) if rows else 1.0
    return BuildStats(generation=found, is_running=is_running, share=share, seconds_left=left)


def _store_of(index: VectorIndex, state: IndexState | None) -> tuple[StoreStats, str]:
    backend, disk_bytes, version, kind, fault = "", None, None, "", ""
    try:
        store = vector_stores[index.vector_store]
        backend, kind = type(store).__name__, store.approximate_kind(index.name)
        held = store.state(index.name)
        version = None if held is None else held.version
        if store.is_in_database and state is not None and state.serving is not None:
            version = state.serving.held_version
        if store.path is not None and state is not None:
            disk_bytes = _bytes_below(Path(store.path), index.name, state.uuid)
    except (ObcAIError, ConfigurationError) as error:
        fault = str(error)
    found = StoreStats(
        alias=index.vector_store,
        backend=backend,
        disk_bytes=disk_bytes,
        held_version=version,
        approximate=kind,
    )
    return found, fault


def _words_bytes(index: VectorIndex, state: IndexState | None) -> int | None:
    try:
        path = lexical_stores[index.lexical_store].path
    except ConfigurationError:  # the checks say so
        return None
    if path is None or state is None:
        return None
    return _bytes_below(Path(path), index.name, state.uuid, are_words=True)


def _bytes_below(path: Path, name: str, uuid: UUID, *, are_words: bool = False) -> int:
    """Return the size of the files of vectors, or of words, which may have one path."""
    from django_obc_ai.backends.lexical_stores._snapshots import WORDS_KIND  # numpy
    from django_obc_ai.backends.snapshots.folders import folder_of

    folder = folder_of(path, name) / str(uuid)
    words = folder / WORDS_KIND.subfolder
    total = 0
    for each in (words if are_words else folder).rglob("*"):
        if not are_words and each.is_relative_to(words):
            continue
        try:
            total += each.stat().st_size if each.is_file() else 0
        except OSError:  # it was replaced just now
            continue
    return total


def _plain(value: Any) -> Any:
    """Return a value as JSON has it. Any: whatever a field holds."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
