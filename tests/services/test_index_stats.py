"""Figures of an index, exact while it is small and estimated where it is large."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_obc_ai.exceptions import UnknownIndexError
from django_obc_ai.indexes import generations, get_index
from django_obc_ai.models import Chunk, DirtyRow, IndexState
from django_obc_ai.services import _chunk_figures
from django_obc_ai.services.index_stats import _bytes_below, index_stats
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import override_ai
from tests.extras import requires
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db
BM25 = "django_obc_ai.backends.lexical_stores.bm25.BM25LexicalStore"
FAISS = "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore"


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


def fill(rows: int = 20) -> None:
    Place.objects.bulk_create(Place(name=f"Cotabato ñ {n}") for n in range(rows))


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("ai_index", *arguments, stdout=out)
    return out.getvalue()


def test_a_small_index_is_counted_exactly() -> None:
    fill()
    Place.objects.bulk_create([Place(name="unreadable"), Place(name="")])
    IndexingService().index("places")
    stats = index_stats("places")
    assert stats.serving is not None
    texts = list(Chunk.objects.values_list("text", flat=True))
    assert (stats.rows, stats.serving.objects, stats.serving.chunks) == (22, 20, 20)
    assert stats.serving.text_bytes == sum(len(text.encode()) for text in texts)
    assert stats.serving.vector_bytes == sum(
        len(bytes(vector)) for vector in Chunk.objects.values_list("vector", flat=True)
    )
    assert stats.serving.estimated == ()
    assert (stats.failures, stats.waiting, stats.lag_seconds) == (1, 0, 0.0)
    assert stats.is_current and stats.recall is None and not stats.fault
    assert stats.version == IndexState.objects.get(pk="places").version
    serving = generations.serving_of(get_index("places"))
    assert serving is not None
    assert f"{stats.serving.embedder}|{stats.serving.fingerprint}" == serving.fingerprint
    assert stats.serving.fitted_count == serving.fitted_count == 22


def test_what_waits_is_counted_with_its_age() -> None:
    fill(3)
    IndexingService().index("places")
    DirtyRow.objects.create(index_name="places", object_key="1")
    stats = index_stats("places")
    assert stats.waiting == 1 and stats.lag_seconds >= 0


def test_an_index_that_was_never_built_has_figures() -> None:
    stats = index_stats("places")
    assert (stats.serving, stats.version, stats.builds, stats.is_current) == (None, 0, (), False)
    with pytest.raises(UnknownIndexError):
        index_stats("nowhere")


def test_an_embedder_that_cannot_be_built_is_a_fault() -> None:
    fill(3)
    IndexingService().index("places")
    with override_ai(EMBEDDERS={"default": {"BACKEND": "nowhere.Nothing"}}):
        stats = index_stats("places")
    assert "nowhere" in stats.fault and stats.serving is not None and not stats.is_current


def test_a_build_under_way_has_a_share() -> None:
    fill()
    IndexingService().index("places")
    IndexingService().index("places", rebuild=True, limit=5, batch_size=5)
    (build,) = index_stats("places").builds
    assert (build.generation.objects, build.share, build.is_running) == (5, 0.25, True)
    assert build.seconds_left is not None and build.seconds_left >= 0
    IndexingService().index("places")
    assert len(index_stats("places").builds) == 1  # nobody has asked to finish it
    IndexingService().index("places", rebuild=True)
    assert index_stats("places").builds == ()


def test_a_large_index_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_chunk_figures, "_MOST_COUNTED", 50)
    monkeypatch.setattr(_chunk_figures, "_SAMPLE_SIZE", 4)
    fill(200)
    IndexingService().index("places", batch_size=10)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with CaptureQueriesContext(connection) as captured:
        stats = index_stats("places")
    found = stats.serving
    assert found is not None
    wanted = {"objects", "text_bytes"}
    if connection.vendor == "postgresql":
        wanted |= {"chunks", "vector_bytes"}
    assert set(found.estimated) == wanted
    assert found.chunks == pytest.approx(200, rel=0.1)
    assert found.objects == found.chunks
    exact = sum(len(text.encode()) for text in Chunk.objects.values_list("text", flat=True))
    assert found.text_bytes == pytest.approx(exact, rel=0.15)
    assert len(captured) < 40
    assert "about 20" in run("places", "--stats") or found.chunks != 200


@requires("faiss")
@pytest.mark.django_db(transaction=True)
def test_files_of_the_store_are_measured(tmp_path: Path) -> None:
    options = {"BACKEND": FAISS, "OPTIONS": {"path": str(tmp_path)}}
    with override_ai(VECTOR_STORES={"default": options}):
        fill()
        IndexingService().index("places")
        before = index_stats("places").store
        assert (before.alias, before.backend) == ("default", "FaissVectorStore")
        SimilaritySearchService().search("places", "Cotabato", user=None)
        stats = index_stats("places")
        files = [each for each in tmp_path.rglob("*") if each.is_file()]
        assert stats.store.disk_bytes == sum(each.stat().st_size for each in files)
        assert stats.store.held_version == stats.version


@pytest.mark.django_db(transaction=True)
def test_files_of_words_are_measured_beside_those_of_vectors(tmp_path: Path) -> None:
    words = {"BACKEND": BM25, "OPTIONS": {"path": str(tmp_path)}}
    with override_ai(LEXICAL_STORES={"default": words}):
        assert index_stats("places").words_bytes is None  # it was never built
        fill()
        IndexingService().index("places")
        assert index_stats("places").words_bytes == 0
        SimilaritySearchService().search("places", "Cotabato", user=None, mode="lexical")
        stats = index_stats("places")
        files = [each for each in tmp_path.rglob("words/**/*") if each.is_file()]
        assert stats.words_bytes == sum(each.stat().st_size for each in files) > 0
        state = IndexState.objects.get(pk="places")
        assert _bytes_below(tmp_path, "places", state.uuid) == 0
        assert "Words on disk" in run("places", "--stats")
    with override_ai(LEXICAL_STORES={"default": {"BACKEND": "no.such.Store"}}):
        assert index_stats("places").words_bytes is None


def test_the_command_prints_a_table_and_json() -> None:
    fill()
    IndexingService().index("places")
    text = run("--stats", "places")
    assert text.startswith("places (testapp.Place)\n")
    for line in ("Rows                20", "Chunks              20", "Failures            0"):
        assert f"  {line}\n" in text
    assert [line for line in run("--stats").splitlines() if not line.startswith(" ")][0:1]
    (found,) = json.loads(run("--stats", "--json", "places"))
    assert (found["name"], found["rows"], found["serving"]["chunks"]) == ("places", 20, 20)
    assert found["serving"]["id"] == str(IndexState.objects.get(pk="places").serving_id)
    everything: list[Any] = json.loads(run("--stats", "--json"))
    assert {each["name"] for each in everything} >= {"places", "slugs"}
    with pytest.raises(CommandError, match="--stats"):
        run("--json")
    with pytest.raises(CommandError):
        run("--stats", "nowhere")
