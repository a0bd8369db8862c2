"""However few rows a user may see, a search returns the brute-force answer among them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
from django_obc_ai.backends.vector_stores._exact import exact_scores
from django_obc_ai.models import Chunk, IndexState
from django_obc_ai.services._fusion import fuse
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import index_now, override_ai
from django_obc_ai.types import ReplicaState
from tests.fakes import TinyEmbedder, entry
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db
ROWS = 10_000
WORDS = ["Poblacion", "Malingao", "Talitay", "market", "river", "school", "coastal", "hill"]
#: Of so many rows one is visible: from all of them to one in ten thousand.
STEPS = (1, 10, 100, 1_000, ROWS)
QUERIES = ["river market", "Talitay school near the coast"]


@pytest.fixture(autouse=True)
def _letters() -> Iterator[None]:
    with override_ai(EMBEDDERS=entry(TinyEmbedder)):
        yield


def fill() -> None:
    chance = random.Random(7)
    Place.objects.bulk_create(
        Place(name=f"{' '.join(chance.choices(WORDS, k=3))} {chance.getrandbits(40):x}")
        for _ in range(ROWS)
    )
    index_now("places")


def by_vectors(query: str, chunks: list[Chunk]) -> list[str]:
    """Return the keys of all objects, the nearest first."""
    vectors = np.stack([np.frombuffer(bytes(each.vector), "<f4") for each in chunks])
    scores = exact_scores(vectors, TinyEmbedder().embed_queries([query])[0])
    order = np.lexsort(([each.pk for each in chunks], -scores))
    return [chunks[row].object_key for row in order]


def by_words(query: str, chunks: list[Chunk]) -> list[str]:
    """Return the keys of the objects that hold a word of the query, the best first."""
    store, keys = BM25LexicalStore(), {each.pk: each.object_key for each in chunks}
    now = IndexState.objects.get(pk="places")
    state = ReplicaState(
        index_uuid=now.uuid, generation=now.serving_id, version=now.version, stamp=now.stamp
    )
    batch = np.array(list(keys), dtype=np.int64), [each.text for each in chunks]
    store.reset("places", batches=[batch], state=state)
    return [keys[hit.id] for hit in store.search("places", [query], len(chunks))[0]]


def test_at_every_selectivity_the_answer_is_that_of_brute_force() -> None:
    fill()
    chunks = list(Chunk.objects.order_by("pk"))
    assert len(chunks) == ROWS
    near = {query: by_vectors(query, chunks) for query in QUERIES}
    worded = {query: by_words(query, chunks) for query in QUERIES}
    search = SimilaritySearchService().search
    for step in STEPS:
        Place.objects.update(is_hidden=True)
        shown = [str(pk) for pk in Place.objects.values_list("pk", flat=True)[step // 2 :: step]]
        for start in range(0, len(shown), 500):
            Place.objects.filter(pk__in=shown[start : start + 500]).update(is_hidden=False)
        visible = set(shown)
        assert len(visible) == ROWS // step
        for query in QUERIES:
            legs = [[key for key in leg[query] if key in visible] for leg in (near, worded)]
            wanted = {"vector": legs[0], "lexical": legs[1], "hybrid": fuse(legs, [1.0, 1.0])}
            for mode, keys in wanted.items():
                options: dict[str, Any] = {} if mode == "lexical" else {"threshold": -1.0}
                if mode == "hybrid":
                    options = {}  # a threshold would bound what words find, too
                found = search("places", query, user=None, k=20, mode=mode, **options)
                assert [str(each.object.pk) for each in found] == keys[:20], (step, query, mode)
