"""Our stores, and what each is compared with on the same graph or table."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks._approximate_bare import Way
from tests.benchmarks._approximate_data import Cache, Data, K, Part
from tests.benchmarks._approximate_database import FAISS, INDEX, PGVECTOR, schema
from tests.benchmarks._bench import DIMENSION, timed

_PACKAGE = "django_obc_ai.backends.vector_stores"
_CLASSES = {
    FAISS: f"{_PACKAGE}.faiss.FaissVectorStore",
    PGVECTOR: f"{_PACKAGE}.pgvector.PgvectorVectorStore",
}
#: An exact search that takes longer gets so few questions.
_SLOW_MS, _FEW = 20.0, 10


def backend(alias: str) -> Any:
    """Return a store's class; None if the package has none."""
    module, _, name = _CLASSES[alias].rpartition(".")
    return getattr(import_module(module), name) if find_spec(module) is not None else None


def can_approximate(alias: str) -> bool:
    found = backend(alias)
    return found is not None and bool(found.can_approximate)


def settings(part: Part, cache: Cache) -> dict[str, Any]:
    """Return OBC_AI["VECTOR_STORES"]."""
    options: dict[str, dict[str, Any]] = {
        FAISS: {"path": str(_files(cache))},
        PGVECTOR: {},
    }
    graphs = {
        FAISS: {
            "kind": "hnsw", "above": 1, "m": part.m,
            "ef_construction": part.ef_construction, "ef_search": part.ef_search,
        },
        PGVECTOR: {
            "kind": "hnsw", "above": 1, "m": part.pgvector_m,
            "ef_construction": part.pgvector_ef_construction, "ef_search": part.pgvector_ef_search,
        },
    }  # fmt: skip
    found: dict[str, Any] = {"default": {"BACKEND": f"{_PACKAGE}.numpy.NumpyVectorStore"}}
    for alias, path in _CLASSES.items():
        if find_spec(path.rpartition(".")[0]) is None:
            continue
        # A version whose FAISS store has no graph yet is measured as far as it goes. The module of
        # the other one holds models, which nobody may import before Django is set up.
        if alias == PGVECTOR or "approximate" in inspect.signature(backend(alias)).parameters:
            options[alias]["approximate"] = graphs[alias]
        found[alias] = {"BACKEND": path, "OPTIONS": options[alias]}
    return found


def _files(cache: Cache) -> Path:
    """Return the folder of the FAISS store's files: one for each database."""
    return cache.path(f"vectors-{schema()}")


def use(alias: str) -> Any:
    """Let the index be searched in a store, filled from the table if need be; return the index."""
    from django_obc_ai.indexes import get_index

    index: Any = get_index(INDEX)  # Any: what is set is a class variable
    index.vector_store = alias
    return index


def _ready(alias: str, cache: Cache) -> Any:
    """Return a replica whose store holds the index and has its graph; both are timed."""
    from django_obc_ai.indexes.replica import sync

    index = use(alias)
    began = time.perf_counter()
    replica = sync(index)
    if f"{alias} fill seconds" not in cache.notes():
        cache.note(f"{alias} fill seconds", time.perf_counter() - began)
    if can_approximate(alias) and not replica.store.approximate_kind(INDEX):
        print(f"  building the graph of {alias}", flush=True)
        began = time.perf_counter()
        replica.store.build_approximate(INDEX)
        cache.note(f"{alias} seconds", time.perf_counter() - began)
        replica = sync(index)
    return replica


def _numbers(answer: Sequence[Sequence[Any]]) -> list[int]:
    return [hit.id - 1 for hit in answer[0]]


def ways(part: Part, data: Data, cache: Cache, dsn: str) -> tuple[list[Way], list[str]]:
    """Return our stores, exact and approximate, bare SQL, and what was left out."""
    found, notes = [], []
    for alias, name in ((FAISS, "FaissVectorStore"), (PGVECTOR, "PgvectorVectorStore")):
        if backend(alias) is None:
            notes.append(f"{name} was not measured: this version has none.")
            continue
        replica = _ready(alias, cache)
        sizes = _sizes(alias, cache)
        found.append(_way(f"{name}, exact", replica, is_exact=True))
        found[-1].megabytes = sizes[0]
        found[-1].build_seconds = cache.notes().get(f"{alias} fill seconds")
        if not can_approximate(alias):
            notes.append(f"{name} was measured as an exact store only: this version has no graph.")
            continue
        ef = {FAISS: part.ef_search, PGVECTOR: part.pgvector_ef_search}[alias]
        found.append(_way(f"{name}, approximate", replica, is_exact=False, ef=ef))
        found[-1].megabytes = sizes[1]
        found[-1].build_seconds = cache.notes().get(f"{alias} seconds")
        if alias == PGVECTOR:
            found.append(_bare_sql(part, dsn))
            found[-1].megabytes = sizes[1]
    found.append(_plain(data))
    for way in found:  # exact search of a million would take the clock's whole time
        way.searches = _few(way, data, part)
    return found, notes


def _few(way: Way, data: Data, part: Part) -> int | None:
    """Return how many questions an exact search gets; None for as many as the others."""
    if way.ef is not None:
        return None
    way.prepare()
    took = min(timed(lambda: way.work(data.questions[:1])) for _ in range(3))
    return min(_FEW, part.searches) if took > _SLOW_MS else None


def _way(name: str, replica: Any, *, is_exact: bool, ef: int | None = None) -> Way:
    store = replica.store
    return Way(
        name=name, ef=ef, rows_of=_numbers,
        work=lambda question: store.search(INDEX, question, K, is_exact=is_exact),
    )  # fmt: skip


def _plain(data: Data) -> Way:
    """The numpy store, in this process's memory."""
    from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
    from django_obc_ai.indexes.catching_up import read_now

    store = NumpyVectorStore()
    blocks = np.array_split(np.arange(len(data.vectors)), max(1, len(data.vectors) // 50_000))
    batches = ((rows + 1, np.asarray(data.vectors[rows])) for rows in blocks)
    began = time.perf_counter()
    store.reset(INDEX, dimension=DIMENSION, batches=batches, state=read_now(use("default")).state)
    return Way(
        name="NumpyVectorStore, exact", rows_of=_numbers,
        work=lambda question: store.search(INDEX, question, K),
        build_seconds=time.perf_counter() - began, megabytes=data.vectors.nbytes / 1e6,
    )  # fmt: skip


def bare_statement() -> str:
    """Return the one statement that bare SQL is, on the table that the pgvector store made."""
    from django.db import connection

    from django_obc_ai.indexes.catching_up import read_now

    generation = read_now(use(PGVECTOR)).state.generation
    table = connection.ops.quote_name(f"django_obc_ai_vectors_{generation.hex}")
    # The index is over inner products; vectors have length 1.
    return f"SELECT chunk_id, embedding <#> %s AS distance FROM {table} ORDER BY distance LIMIT {K}"


def bare_search(part: Part, dsn: str) -> Callable[[np.ndarray], list[tuple[int, float]]]:
    """Return a search by bare SQL, on a connection of its own."""
    import psycopg

    connection = psycopg.connect(dsn, autocommit=True)
    for name, value in (
        ("hnsw.ef_search", str(part.pgvector_ef_search)), ("hnsw.iterative_scan", "relaxed_order")
    ):  # fmt: skip
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])
    statement = bare_statement()

    def search(question: np.ndarray) -> list[tuple[int, float]]:
        text = f"[{','.join(map(repr, question[0].tolist()))}]"
        return connection.execute(statement, [text]).fetchall()

    plan = "\n".join(
        row[0] for row in connection.execute(f"EXPLAIN {statement}", [str([0.1] * DIMENSION)])
    )
    assert "Index Scan" in plan, f"bare SQL does not use the index:\n{plan}"
    return search


def _bare_sql(part: Part, dsn: str) -> Way:
    return Way(
        name="bare SQL of pgvector", ef=part.pgvector_ef_search, work=bare_search(part, dsn),
        rows_of=lambda answer: [pk - 1 for pk, _ in answer],
    )  # fmt: skip


def _sizes(alias: str, cache: Cache) -> tuple[float, float | None]:
    """Return MB of what exact searches need, and of what approximate ones read."""
    if alias == FAISS:
        # Of a graph some are links to those of the snapshot, which count once.
        files = sorted(_files(cache).rglob("*.*"), key=lambda each: each.name)
        files = [each for each in files if each.is_file() and "set-aside-" not in str(each)]
        files = list({each.stat().st_ino: each for each in files}.values())
        known = {"vectors.f32", "halves.f16", "ids.i64"}
        exact = sum(each.stat().st_size for each in files if each.name in known)
        graph = sum(each.stat().st_size for each in files if each.name not in known)
        # A graph is searched over the vectors in 32 bits, which are files of the snapshot.
        vectors = sum(each.stat().st_size for each in files if each.name == "vectors.f32")
        return exact / 1e6, (graph + vectors) / 1e6
    from django.db import connection

    from django_obc_ai.indexes.catching_up import read_now

    generation = read_now(use(PGVECTOR)).state.generation
    table = f"django_obc_ai_vectors_{generation.hex}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_table_size(%s::regclass)", [table])
        exact = cursor.fetchone()[0]
        cursor.execute(
            "SELECT coalesce(sum(pg_relation_size(i.indexrelid)), 0) FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
            " WHERE i.indrelid = %s::regclass AND a.amname = 'hnsw'",
            [table],
        )
        return exact / 1e6, float(cursor.fetchone()[0]) / 1e6
