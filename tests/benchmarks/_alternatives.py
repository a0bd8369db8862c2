"""What index_updates is compared with, and its check at the end."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from tests.benchmarks._bench import DIMENSION, clustered, near, p, timed


def plain_updates(rows: int, seconds: float) -> float:
    """UPDATE statements a second that the same connection makes one after the other."""
    from django_obc_ai.models import Chunk

    vector = bytes(DIMENSION * 4)
    ids = list(Chunk.objects.order_by("pk").values_list("pk", flat=True)[:500])
    saved = dict(Chunk.objects.filter(pk__in=ids).values_list("pk", "vector"))
    count, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        Chunk.objects.filter(pk=ids[count % len(ids)]).update(vector=vector)
        count += 1
    rate = count / (time.monotonic() - begun)
    for pk, old in saved.items():
        Chunk.objects.filter(pk=pk).update(vector=old)
    return rate


def original_update_ms(rows: int, folder: Path) -> float:
    """The original's way: change the flat index and its list, and write both files again."""
    import faiss

    index = faiss.IndexFlatL2(DIMENSION)
    index.add(np.vstack(list(clustered(rows))))
    metadata = [{"id": n} for n in range(rows)]

    def once() -> None:
        index.remove_ids(np.array([5]))
        index.add(np.ones((1, DIMENSION), dtype=np.float32))
        metadata.append(metadata.pop(5))
        faiss.write_index(index, str(folder / "original.faiss"))
        (folder / "original.json").write_text(json.dumps(metadata))

    return p([timed(once) for _ in range(5)], 50)


def equals_the_table(index: str, k: int) -> bool:
    """A fresh process's replica against the rows, by brute force."""
    from django_obc_ai.backends.vector_stores import vector_stores
    from django_obc_ai.indexes import get_index
    from django_obc_ai.indexes.replica import sync
    from django_obc_ai.models import Chunk

    vector_stores.reset()
    replica = sync(get_index(index))
    rows = list(Chunk.objects.order_by("pk").values_list("pk", "vector"))
    vectors = np.frombuffer(b"".join(bytes(v) for _, v in rows), "<f4").reshape(-1, DIMENSION)
    ids = np.array([pk for pk, _ in rows])
    for query in near(next(clustered(5_000)), 20, seed=9):
        scores = np.concatenate(
            [part.astype("f8") @ query.astype("f8") for part in np.array_split(vectors, 20)]
        ).astype("f4")
        wanted = ids[np.lexsort((ids, -scores))][:k].tolist()
        if [hit.id for hit in replica.store.search(index, query[None], k)[0]] != wanted:
            return False
    return replica.store.count(index) == len(rows)
