"""Objects that cannot be indexed: noted by name, tried again, forgotten once they are indexed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from numpy.typing import NDArray

from django_obc_ai.exceptions import InvalidRequestError
from django_obc_ai.indexes import forgetting, get_index
from django_obc_ai.models import Chunk, DirtyRow, IndexFailure
from django_obc_ai.services.erasure import erase_user
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.testing import override_ai
from tests.fakes import TinyEmbedder, entry
from tests.indexes.test_equal_to_data import assert_equal_to_rows
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db(transaction=True)
asked: list[int] = []


class Picky(TinyEmbedder):
    """Refuses a whole request for one text in it, as providers do."""

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray:  # type: ignore[type-arg]
        asked.append(len(texts))
        if any("secret refused" in text for text in texts):
            raise InvalidRequestError("secret refused: the text is too long")
        return super().embed_documents(texts, state=state)


@pytest.fixture(autouse=True)
def _picky() -> Iterator[None]:
    asked.clear()
    with override_ai(EMBEDDERS=entry(Picky)):
        yield


def failures() -> list[tuple[str, str, int]]:
    rows = IndexFailure.objects.order_by("object_key")
    return list(rows.values_list("object_key", "error", "attempts"))


def test_a_text_that_cannot_be_computed_is_noted_until_it_can_be() -> None:
    place, _ = Place.objects.bulk_create([Place(name="unreadable"), Place(name="Sulu")])
    for attempts in (1, 2):
        assert IndexingService().index("places").failed == (str(place.pk),)
        assert failures() == [(str(place.pk), "RuntimeError", attempts)]
    first = IndexFailure.objects.get()
    assert first.first_at < first.last_at
    place.name = "Readable"
    place.save()
    assert failures() == []
    assert_equal_to_rows("places")


def test_a_save_that_cannot_be_indexed_is_noted_and_waits() -> None:
    place = Place.objects.create(name="Before")
    IndexingService().index("places")
    place.name = "unreadable"
    place.save()
    assert failures() == [(str(place.pk), "RuntimeError", 1)]
    assert DirtyRow.objects.count() == 1
    place.delete()
    assert failures() == []
    assert not DirtyRow.objects.exists() and not Chunk.objects.exists()


def test_a_row_that_is_as_it_was_before_it_failed_is_no_failure_any_more() -> None:
    place = Place.objects.create(name="Before")
    IndexingService().index("places")
    Place.objects.filter(pk=place.pk).update(name="unreadable")
    IndexingService().index("places")
    assert len(failures()) == 1
    Place.objects.filter(pk=place.pk).update(name="Before")
    IndexingService().index("places")
    assert failures() == []


@pytest.mark.parametrize("workers", [1, 3])
def test_a_text_that_is_refused_keeps_no_other_out(workers: int) -> None:
    Place.objects.bulk_create(Place(name=f"Place {n}") for n in range(64))
    (bad,) = Place.objects.bulk_create([Place(name="secret refused")])
    Place.objects.bulk_create(Place(name=f"Other {n}") for n in range(30))
    report = IndexingService().index("places", workers=workers)
    assert (report.failed, report.embedded) == ((str(bad.pk),), 94)
    assert failures() == [(str(bad.pk), "InvalidRequestError", 1)]
    assert Chunk.objects.count() == 94
    assert len(asked) < 20  # by halves, not one by one
    bad.name = "Fine"
    bad.save()
    assert failures() == []
    assert_equal_to_rows("places")


def test_a_refused_text_leaves_what_the_object_said_before() -> None:
    place = Place.objects.create(name="Before")
    other = Place.objects.create(name="Other")
    IndexingService().index("places")
    Place.objects.filter(pk=place.pk).update(name="secret refused")
    Place.objects.filter(pk=other.pk).update(name="Changed")
    assert IndexingService().index("places").failed == (str(place.pk),)
    assert set(Chunk.objects.values_list("text", flat=True)) == {"Before", "Changed"}


def test_an_embedder_that_refuses_everything_is_an_error_of_the_run() -> None:
    Place.objects.bulk_create(Place(name=f"secret refused {n}") for n in range(40))
    with pytest.raises(InvalidRequestError):
        IndexingService().index("places")
    assert failures() == []
    assert len(asked) < 20


def test_neither_text_nor_message_is_noted_or_said(caplog: pytest.LogCaptureFixture) -> None:
    Place.objects.create(name="Sulu")
    Place.objects.create(name="secret refused")
    with caplog.at_level(logging.DEBUG), pytest.raises(CommandError, match="1 rows") as caught:
        call_command("ai_index", "places", verbosity=0)
    assert "secret" not in str(list(IndexFailure.objects.values())) + caplog.text
    assert "secret" not in str(caught.value)


def test_what_is_gone_is_forgotten_even_where_nothing_can_be_written() -> None:
    place = Place.objects.create(name="unreadable")
    kept = Place.objects.create(name="unreadable")
    IndexingService().index("places")
    assert len(failures()) == 2
    Place.objects.filter(pk=place.pk)._raw_delete("default")
    forgetting.forget_gone(get_index("places"))
    assert [key for key, _, _ in failures()] == [str(kept.pk)]


def test_erasing_a_user_takes_the_failures_of_what_was_the_users() -> None:
    user = get_user_model().objects.create(username="amina", password="x")
    place = Place.objects.create(name="unreadable", owner=user)
    IndexingService().index("places")
    Place.objects.filter(pk=place.pk)._raw_delete("default")
    erase_user(user)
    assert failures() == []


def test_a_failure_says_what_it_is() -> None:
    assert str(IndexFailure(index_name="places", object_key="7")) == "places:7"
