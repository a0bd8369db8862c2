"""Tags: what drops an answer, when, and what a transaction may see of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.db import connection, connections, transaction

from django_obc_ai.exceptions import UnknownIndexError
from django_obc_ai.services.cache import invalidate, read_tags, tag_of, tag_of_index
from django_obc_ai.services.changes import IndexedQuerySet, marking
from django_obc_ai.services.text import TextService
from tests.gateway.conftest import Scripted
from tests.testapp.models import Child, CompositeThing, Place, Slugged, Survey, Tag, UUIDThing

pytestmark = pytest.mark.django_db(transaction=True)


class _UndoneError(Exception):
    pass


def ask(*tags: Any, **arguments: Any) -> Any:
    seen = read_tags(*tags)
    return TextService().generate_text("Q", cache_tags=seen, **arguments)


@pytest.fixture
def numbered(scripted: Scripted) -> Callable[..., Any]:
    """Answers that are counted: an answer from before is told by its number."""
    return lambda **settings: scripted(*(str(number) for number in range(1, 20)), **settings)


def is_dropped_by(change: Callable[[], Any], *tags: Any) -> bool:
    before = ask(*tags).text
    assert ask(*tags).text == before
    change()
    return ask(*tags).text != before


# --- rows ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "row",
    [
        Place(name="A"),
        Child(name="A"),
        UUIDThing(title="A"),
        Slugged(slug="a:b"),
        CompositeThing(region="R", number=2),
    ],
    ids=lambda row: type(row).__name__,
)
def test_saving_and_deleting_a_row_drops_the_answers_made_of_it_alone(
    numbered: Any, row: Any
) -> None:
    numbered()
    other = Place.objects.create(name="other")
    row.save()
    tag = tag_of(row)
    assert not is_dropped_by(other.save, row)
    assert is_dropped_by(row.save, row)
    assert is_dropped_by(row.delete, tag)


def test_the_tag_of_a_row_has_one_form_whatever_its_key_was_given_as() -> None:
    key = uuid.uuid4()
    assert tag_of(Place(pk=5)) == tag_of(Place(pk="5")) == "row:testapp.place:5"
    assert tag_of(UUIDThing(pk=key)) == tag_of(UUIDThing(pk=key.hex))
    assert tag_of(Child(pk=5, id=5)) == tag_of(Place(pk=5))
    with pytest.raises(ValueError, match="without a primary key"):
        tag_of(Place())


def test_a_child_and_its_parent_are_one_row(numbered: Any) -> None:
    numbered()
    child = Child.objects.create(name="A")
    place = Place.objects.get(pk=child.pk)
    assert is_dropped_by(place.save, child)
    assert is_dropped_by(child.save, place)


@pytest.mark.parametrize("action", ["add", "remove", "clear", "set"])
@pytest.mark.parametrize("is_reverse", [False, True])
def test_a_changed_relation_drops_the_answers_of_both_sides(
    numbered: Any, action: str, is_reverse: bool
) -> None:
    numbered()
    place, tag = Place.objects.create(name="A"), Tag.objects.create(name="T")
    if action in ("remove", "clear"):
        place.tags.add(tag)
    side, other = (tag.places, place) if is_reverse else (place.tags, tag)
    argument = {"add": (other,), "remove": (other,), "clear": (), "set": ([other],)}[action]
    assert is_dropped_by(lambda: getattr(side, action)(*argument), place)


def test_models_that_the_settings_name_are_watched_and_their_relatives(numbered: Any) -> None:
    numbered(CACHE={"models": ["testapp.Survey", "testapp.Tag"]})
    survey, tag = Survey.objects.create(title="A"), Tag.objects.create(name="T")
    place = Place.objects.create(name="A")
    assert is_dropped_by(survey.save, survey)
    assert is_dropped_by(lambda: place.tags.add(tag), tag)
    assert is_dropped_by(place.tags.clear, tag)


def test_a_row_that_nobody_watches_is_no_tag_and_the_error_says_what_to_do(scripted: Any) -> None:
    scripted("A")
    survey = Survey.objects.create(title="A")
    with pytest.raises(TypeError, match=r"'testapp.Survey' to OBC_AI\['CACHE'\]\['models'\]"):
        TextService().generate_text("Q", cache_tags=[survey])
    with pytest.raises(TypeError, match="Survey"):
        invalidate(tags=[survey])
    assert TextService().generate_text("Q", cache_tags=[tag_of(survey)]).success


@pytest.mark.parametrize("tags", ["places", Place(pk=1), [5], [("a", "b")]], ids=repr)
def test_what_is_no_tag_is_refused(tags: Any) -> None:
    with pytest.raises(TypeError):
        invalidate(tags=tags)
    with pytest.raises(TypeError):
        TextService().generate_text("Q", cache_tags=tags)


def test_bulk_writes_drop_answers_by_the_documented_call(numbered: Any) -> None:
    numbered()
    place = Place.objects.create(name="A")
    rows = IndexedQuerySet(Place)
    assert not is_dropped_by(lambda: Place.objects.update(name="B"), place)
    assert is_dropped_by(lambda: rows.update(name="C"), place)

    def by_hand() -> None:
        with marking(Place.objects.all()), connection.cursor() as cursor:
            cursor.execute("UPDATE testapp_place SET name = 'D'")

    assert is_dropped_by(by_hand, place)


# --- indexes -------------------------------------------------------------------------------------
def test_any_change_of_its_rows_drops_the_answers_of_an_index(numbered: Any) -> None:
    numbered()
    tag = tag_of_index("places")
    place = Place.objects.create(name="A")
    assert is_dropped_by(place.save, tag)
    assert is_dropped_by(lambda: Place.objects.create(name="B"), tag)
    assert is_dropped_by(lambda: place.tags.add(Tag.objects.create(name="T")), tag)
    assert is_dropped_by(place.delete, tag)
    assert not is_dropped_by(lambda: Slugged.objects.create(slug="S"), tag)
    with pytest.raises(UnknownIndexError):
        tag_of_index("place")


def test_what_an_index_learns_later_drops_its_answers_again(numbered: Any) -> None:
    """A search between commit and embedding found the old texts."""
    from django_obc_ai.services.indexing import IndexingService

    numbered()
    IndexingService().index("places")
    assert is_dropped_by(lambda: IndexingService().index("places", rebuild=True), "index:places")
    place = Place.objects.create(name="A")
    place.refresh_from_db()
    from django_obc_ai.indexes import get_index, outbox

    def die_before_the_hook_and_sweep() -> None:
        Place.objects.update(name="B")
        outbox.add_dirty(get_index("places"), [str(place.pk)])
        IndexingService().sweep("places")

    assert is_dropped_by(die_before_the_hook_and_sweep, place)


# --- transactions --------------------------------------------------------------------------------
def test_a_rollback_drops_nothing(numbered: Any) -> None:
    numbered()
    place = Place.objects.create(name="A")

    def undone() -> None:
        with pytest.raises(_UndoneError), transaction.atomic():
            place.save()
            invalidate(tags=["places"])
            raise _UndoneError

    assert not is_dropped_by(undone, place, "places", "index:places")


def test_what_a_savepoint_undoes_drops_nothing_and_the_rest_does(numbered: Any) -> None:
    numbered()
    one, two = Place.objects.create(name="1"), Place.objects.create(name="2")

    def half() -> None:
        with transaction.atomic():
            with pytest.raises(_UndoneError), transaction.atomic():
                one.save()
                raise _UndoneError
            with transaction.atomic():
                two.save()

    assert not is_dropped_by(half, one)
    assert is_dropped_by(half, two)


def test_a_transaction_that_changed_a_row_neither_takes_nor_leaves_answers(numbered: Any) -> None:
    kit = numbered()
    place = Place.objects.create(name="A")
    seen = read_tags(place)
    assert ask(place).text == "1"
    with pytest.raises(_UndoneError), transaction.atomic():
        place.save()
        assert ask(place).text == "2"
        assert TextService().generate_text("Q", cache_tags=seen).text == "3"
        raise _UndoneError
    assert ask(place).text == "1"
    assert kit.provider.call_count == 3


def test_it_is_dropped_before_any_other_hook_of_the_commit(numbered: Any) -> None:
    """A hook that asks gets no old answer, and one that fails keeps none alive."""
    numbered()
    place = Place.objects.create(name="A")
    before, heard = ask(place).text, []

    def fail() -> None:
        heard.append(ask(place).text)
        raise _UndoneError

    with pytest.raises(_UndoneError), transaction.atomic():
        transaction.on_commit(fail)
        place.save()
    assert heard != [before]
    assert ask(place).text == heard[0]


def test_many_saves_of_a_transaction_wait_in_one_hook(numbered: Any) -> None:
    numbered()
    places = [Place.objects.create(name=str(number)) for number in range(5)]
    with transaction.atomic():
        for place in places:
            transaction.on_commit(lambda: None)
            place.save()
        names = [hook for _, hook, _ in connection.run_on_commit if hasattr(hook, "names")]
        assert len(names) == 1


def test_inside_a_snapshot_nothing_is_taken_or_left(numbered: Any, monkeypatch: Any) -> None:
    """Its rows may be older than a version that it reads."""
    numbered()
    place = Place.objects.create(name="A")
    if connection.vendor == "sqlite":
        monkeypatch.setattr(connections["default"], "transaction_mode", None)
    with transaction.atomic():
        if connection.vendor == "postgresql":
            from psycopg import IsolationLevel

            ask(place)
            assert ask(place).cached  # each statement sees what is committed
            monkeypatch.setattr(
                connections["default"], "isolation_level", IsolationLevel.REPEATABLE_READ
            )
        assert not ask(place).cached
        assert not ask(place).cached
        assert not ask().cached
        assert ask().cached


# --- a cache that fails --------------------------------------------------------------------------
def test_what_the_cache_could_not_drop_is_dropped_before_a_version_is_read(
    numbered: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    numbered()
    place = Place.objects.create(name="A")
    before = ask(place).text

    def gone(*_: Any, **__: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(LocMemCache, "delete_many", gone)
        place.save()
        assert "did not drop" in caplog.text
        assert not ask(place).cached
    assert ask(place).text != before
    assert ask(place).cached


def test_a_version_that_was_lost_makes_misses(numbered: Any) -> None:
    from django.core.cache import caches

    from django_obc_ai.conf import get_settings

    numbered()

    def lose() -> None:
        store = caches[get_settings().cache.alias or ""]
        for key in list(store._cache):  # type: ignore[attr-defined]  # of the memory cache
            if ":tag:" in key:
                store.delete(key.split(":", 2)[2])

    assert is_dropped_by(lose, "places")
