"""Programs that the tests of words on disk run in processes of their own.

Usage: python -m tests.backends.words_in_process WORK FOLDER [ARGUMENTS]

Content is a function of the version, so that every reader can tell a torn one: version v of the
index holds the ids v * 1000 to v * 1000 + 299, and texts that v decides.
"""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
from django_obc_ai.types import ReplicaState

ROWS = 300
UUID, GENERATION = uuid.UUID(int=1), uuid.UUID(int=2)
WORDS = ("river", "market", "coast", "stall", "lane")
QUERIES = ("river", "coast market river", "stall lane")


def moment(version: int, stamp: str = "s") -> ReplicaState:
    return ReplicaState(index_uuid=UUID, generation=GENERATION, version=version, stamp=stamp)


def rows_of(version: int) -> tuple[Any, list[str]]:
    """ids (300,) and texts of a version."""
    chance = np.random.default_rng(version)
    picks = (chance.choice(WORDS, size=chance.integers(1, 9)) for _ in range(ROWS))
    return np.arange(ROWS) + version * 1_000, [" ".join(["river", *each]) for each in picks]


def fill(store: BM25LexicalStore, version: int) -> None:
    store.reset("places", batches=[rows_of(version)], state=moment(version))


def change(store: BM25LexicalStore, version: int, *, gone: Any = ()) -> None:
    ids, texts = rows_of(version)
    store.apply("places", ids=ids, texts=texts, removed=list(gone), state=moment(version))


def advance(store: BM25LexicalStore, version: int) -> None:
    """Replace everything by the next version and write it out."""
    change(store, version, gone=rows_of(version - 1)[0].tolist())
    store.fold("places")


def find_problem(store: BM25LexicalStore) -> str:
    """Compare what is found with a store in memory that holds the same version; "" if equal."""
    for query in QUERIES:
        found = store.search("places", [query], 1_000)[0]
        version = found[0].id // 1_000 if found else -1
        wanted = BM25LexicalStore()
        fill(wanted, version)
        if found != wanted.search("places", [query], 1_000)[0]:
            return f"{len(found)} hits are not those of version {version}"
    return ""


def snapshots(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/words/snapshot-*"))


def aside(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/words/set-aside-*"))


def fold_for_ever(folder: str) -> None:
    """Write one snapshot after the other until killed; say when the first one is done."""
    store = BM25LexicalStore(path=folder)
    if store.state("places") is None:
        fill(store, 1)
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
        store = BM25LexicalStore(path=folder)
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


if __name__ == "__main__":
    settings.configure()
    {"fold": fold_for_ever, "read": read_for}[sys.argv[1]](*sys.argv[2:])
