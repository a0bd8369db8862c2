"""Chunks in the tables: offsets after edits, rows that stay, long texts, counted embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.indexes import get_index
from django_obc_ai.models import Chunk, Tombstone
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import override_ai
from tests.testapp.ai_indexes import PlaceIndex
from tests.testapp.models import Place

#: The texts of places by their names; their own columns are short.
TEXTS: dict[str, str] = {}
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fresh_stores() -> Any:
    with override_ai():
        yield
    TEXTS.clear()


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are embedded, in order."""
    found: list[str] = []
    original = HashingEmbedder.embed_documents

    def embed(self: HashingEmbedder, texts: Sequence[str], *, state: bytes = b"") -> Any:
        found.extend(texts)
        return original(self, texts, state=state)

    monkeypatch.setattr(HashingEmbedder, "embed_documents", embed)
    monkeypatch.setattr(PlaceIndex, "chunk_tokens", 8)
    monkeypatch.setattr(PlaceIndex, "get_text", lambda self, place: TEXTS.get(place.name, ""))
    return found


def paragraphs(*numbers: int) -> str:
    return "\n\n".join(f"Paragraph {n} tells of coast {n * 7} again." for n in numbers)


def create(name: str, text: str) -> Place:
    TEXTS[name] = text
    return Place.objects.create(name=name)


def change(place: Place, text: str) -> None:
    TEXTS[place.name] = text
    place.save()


def assert_right(place: Place) -> list[Chunk]:
    """Every chunk stands where it says; the chunks are those of the text now."""
    index = get_index("places")
    text = index.get_text(Place.objects.get(pk=place.pk))
    chunks = list(Chunk.objects.filter(object_key=str(place.pk)).order_by("number"))
    wanted = [(n, p.start, p.end, p.text) for n, p in enumerate(index.split(text))]
    assert [(c.number, c.start, c.end, c.text) for c in chunks] == wanted
    assert all(text[c.start : c.end] == c.text for c in chunks)
    assert IndexingService().verify("places").is_equal
    return chunks


def test_what_stands_before_a_piece_moves_its_offsets_and_embeds_nothing(
    embedded: list[str],
) -> None:
    place = create("x", paragraphs(*range(9)))
    IndexingService().index("places")
    before = assert_right(place)
    assert len(before) == 9
    embedded.clear()
    change(place, "\n\n\n" + paragraphs(*range(9)).replace("\n\n", "\n \n"))
    after = assert_right(place)
    assert embedded == []
    assert [c.pk for c in after] == [c.pk for c in before]
    assert [c.start - b.start for c, b in zip(after, before, strict=True)] == [
        3 + n for n in range(9)
    ]


def test_pieces_that_stay_keep_their_rows_whatever_changes_around_them(
    embedded: list[str],
) -> None:
    place = create("x", paragraphs(*range(20)))
    IndexingService().index("places")
    ids = {c.text: c.pk for c in assert_right(place)}
    for order in (
        [50, *range(20)],
        [*range(5), *range(6, 20)],
        [*range(10), 60, 61, *range(12, 20)],
        [*reversed(range(20))],
        [3, 3, 3, 1],
        [1, 3],
        [*range(20, 0, -2), 3, 70, 71],
    ):
        held = {c.pk for c in Chunk.objects.all()}
        texts = set(Chunk.objects.values_list("text", flat=True))
        embedded.clear()
        tombstones = Tombstone.objects.count()
        change(place, paragraphs(*order))
        found = assert_right(place)
        assert sorted(set(embedded)) == sorted({c.text for c in found} - texts)
        stayed = {c.pk for c in found if c.text in texts and c.pk in held}
        assert len({c.text for c in found if c.text in texts}) <= len(stayed)
        assert Tombstone.objects.count() - tombstones == len(held - {c.pk for c in found})
    assert ids


def test_offsets_that_were_lost_are_found_and_repaired(embedded: list[str]) -> None:
    place = create("x", paragraphs(*range(3)))
    IndexingService().index("places")
    Chunk.objects.filter(number=1).update(start=1)
    assert not IndexingService().verify("places").is_equal
    embedded.clear()
    IndexingService().index("places")
    assert_right(place)
    assert embedded == []


def test_an_object_of_thousands_of_chunks_takes_one_place(embedded: list[str]) -> None:
    count = 5_000
    place = create("long", paragraphs(*range(count)))
    for name in "abc":
        create(name, f"Paragraph {name} tells of coast.")
    IndexingService().index("places")
    assert Chunk.objects.filter(object_key=str(place.pk)).count() == count
    search = SimilaritySearchService().search
    results = search("places", "Paragraph tells of coast 7 again", user=None, k=4, threshold=-1)
    assert {result.object.name for result in results} == {"long", "a", "b", "c"}
    (best,) = [result for result in results if result.object.pk == place.pk]
    assert TEXTS["long"][best.start : best.end] == best.text

    embedded.clear()
    change(place, TEXTS["long"].replace("Paragraph 700 tells", "Paragraph 700 now says"))
    assert len(embedded) == 1
    assert "now says" in embedded[0]
    assert Tombstone.objects.count() <= 1
    embedded.clear()
    change(place, paragraphs(9_999) + "\n\n" + TEXTS["long"])
    assert len(embedded) == 1
    chunks = Chunk.objects.filter(object_key=str(place.pk)).order_by("number")
    assert all(TEXTS["long"][c.start : c.end] == c.text for c in chunks)
    assert [c.number for c in chunks] == list(range(count + 1))


def test_a_change_of_sizes_builds_anew_and_embeds_what_is_new_alone(
    embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create("x", paragraphs(*range(9)))
    IndexingService().index("places")
    for attribute, value in (("chunk_overlap", 2), ("text_format", "markdown")):
        monkeypatch.setattr(PlaceIndex, attribute, value)
        assert not IndexingService().is_current("places")
        assert IndexingService().index("places").reason == "embedder or text template changed"
        assert IndexingService().is_current("places")
