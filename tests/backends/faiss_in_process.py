"""Programs that the tests of the FAISS store run in processes of their own.

Usage: python -m tests.backends.faiss_in_process WORK FOLDER [ARGUMENTS]

Content is a function of the version, so that every reader can tell a torn one: version v of the
index holds the ids v * 1000 to v * 1000 + 299, and all their vectors point where v says.
"""

from __future__ import annotations

import sys
import time
import uuid
from typing import Any

import numpy as np
from django.conf import settings

from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
from django_obc_ai.types import ReplicaState

ROWS, DIMENSION = 300, 32
UUID, GENERATION = uuid.UUID(int=1), uuid.UUID(int=2)


def moment(version: int, stamp: str = "s") -> ReplicaState:
    return ReplicaState(index_uuid=UUID, generation=GENERATION, version=version, stamp=stamp)


def rows_of(version: int) -> tuple[Any, Any]:
    """ids (300,) and unit vectors (300, 32) of a version."""
    rng = np.random.default_rng(version)
    vectors = np.eye(DIMENSION)[version % DIMENSION] + 0.1 * rng.normal(size=(ROWS, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.arange(ROWS) + version * 1_000, vectors.astype(np.float32)


def fill(store: FaissVectorStore, version: int) -> None:
    store.reset("places", dimension=DIMENSION, batches=[rows_of(version)], state=moment(version))


def advance(store: FaissVectorStore, version: int) -> None:
    """Replace everything by the next version and write it out."""
    gone, _ = rows_of(version - 1)
    ids, vectors = rows_of(version)
    store.apply("places", ids=ids, vectors=vectors, removed=gone.tolist(), state=moment(version))
    store.fold("places")


def find_problem(store: FaissVectorStore) -> str:
    """Search and compare with what the found version must hold; "" if all is right."""
    version = 0
    for query in np.eye(DIMENSION, dtype=np.float32)[:3]:
        hits = store.search("places", query[None], 1_000)[0]
        ids = {hit.id for hit in hits}
        version = hits[0].id // 1_000 if hits else -1
        wanted, vectors = rows_of(version)
        if ids != set(wanted.tolist()):
            return f"torn: {len(ids)} of version {version}"
        scores = dict(zip(wanted.tolist(), (vectors @ query).tolist(), strict=True))
        if any(abs(scores[hit.id] - hit.score) > 1e-5 for hit in hits):
            return f"wrong scores in version {version}"
    return ""


def fold_for_ever(folder: str, version: str) -> None:
    """Write one snapshot after the other until killed; say when the first one is done."""
    store = FaissVectorStore(path=folder)
    number = int(version)
    if store.state("places") is None:
        fill(store, number)
    held = store.state("places")
    assert held is not None
    number = held.version
    print("ready", flush=True)
    while True:
        number += 1
        advance(store, number)


def read_for(folder: str, seconds: str) -> None:
    """Open the folder anew and search, again and again; print how often, fail at a problem."""
    deadline = time.monotonic() + float(seconds)
    rounds, versions = 0, set()
    while time.monotonic() < deadline:
        store = FaissVectorStore(path=folder)
        held = store.state("places")
        assert held is not None, "nothing is held"
        for _ in range(3):
            problem = find_problem(store)
            assert not problem, problem
            store.load("places", held, lambda _: True)
            later = store.state("places")
            assert later is not None and later.version >= held.version
            versions.add(later.version)
        store.close()
        rounds += 1
    print(rounds, len(versions))


def graph(folder: str, m: int = 8) -> FaissVectorStore:
    """A store that builds a graph, however few rows there are."""
    return FaissVectorStore(path=folder, approximate={"above": 1, "m": m, "ef_search": 32})


def find_approximate_problem(store: FaissVectorStore) -> str:
    """Search approximately and compare with what the found version must hold."""
    for query in np.eye(DIMENSION, dtype=np.float32)[:5]:
        hits = store.search("places", query[None], 50, is_exact=False)[0]
        wanted, vectors = rows_of(hits[0].id // 1_000)
        scores = dict(zip(wanted.tolist(), (vectors @ query).tolist(), strict=True))
        if len({hit.id for hit in hits} & scores.keys()) != 50:
            return "torn"
        if any(abs(scores[hit.id] - hit.score) > 1e-5 for hit in hits):
            return "wrong scores"
    return ""


def build_for_ever(folder: str) -> None:
    """Build one graph after the other until killed; say when the first one is done."""
    store = graph(folder)
    held = store.state("places")
    assert held is not None
    assert store.build_approximate("places") == "HNSW, M 8"
    print("ready", flush=True)
    number = held.version
    while True:
        number += 1
        advance(store, number)
        m = 16 if store.approximate_settings.startswith("hnsw m=8 ") else 8
        store.close()
        store = graph(folder, m)
        store.build_approximate("places")


if __name__ == "__main__":
    settings.configure()
    {"fold": fold_for_ever, "read": read_for, "build": build_for_ever}[sys.argv[1]](*sys.argv[2:])
