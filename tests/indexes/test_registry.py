"""Registered indexes: names, refusals, and being found by autodiscovery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from django.apps import apps
from django.db.models.signals import m2m_changed, post_delete, post_save

from django_obc_ai import receivers
from django_obc_ai.exceptions import ConfigurationError, UnknownIndexError
from django_obc_ai.indexes import VectorIndex, get_index, get_indexes, register
from django_obc_ai.indexes.registry import unregister
from django_obc_ai.models import DirtyRow
from tests.testapp.ai_indexes import PlaceIndex
from tests.testapp.models import Child, Place, Slugged, Tag


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    known = get_indexes()
    yield
    for index in get_indexes():
        if index not in known:
            unregister(index.name)
    for index in known:
        if index not in get_indexes():
            register(type(index))


def declare(**attributes: Any) -> type[VectorIndex]:
    return type("Declared", (VectorIndex,), {"name": "declared", "model": Place, **attributes})


def test_indexes_of_every_app_are_found_and_sorted_by_name() -> None:
    assert [index.name for index in get_indexes()] == ["composites", "places", "slugs", "uuids"]


def test_register_returns_the_class_and_makes_one_instance() -> None:
    index_class = declare()
    assert register(index_class) is index_class
    assert type(get_index("declared")) is index_class
    assert get_index("declared") is get_index("declared")


def test_an_unknown_name_names_the_nearest_and_where_indexes_are_declared() -> None:
    with pytest.raises(UnknownIndexError) as raised:
        get_index("placse")
    assert str(raised.value) == (
        "No index is named 'placse'. Did you mean 'places'? Indexes are declared in the"
        " ai_indexes.py of an installed app."
    )
    assert raised.value.code == "invalid_request"


def test_without_any_index_nothing_is_suggested() -> None:
    for index in get_indexes():
        unregister(index.name)
    with pytest.raises(UnknownIndexError, match="No names are valid here"):
        get_index("places")


@pytest.mark.parametrize("name", [None, "", 3, "x" * 101, ["places"]])
def test_an_index_without_a_usable_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Declared has no usable name") as raised:
        register(declare(name=name))
    assert raised.value.hint == 'Set name = "…", up to 100 characters.'


def test_an_index_without_any_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no usable name"):
        register(type("Nameless", (VectorIndex,), {"model": Place}))


@pytest.mark.parametrize("model", [None, "testapp.Place", Place(), int])
def test_an_index_without_a_model_is_refused(model: Any) -> None:
    with pytest.raises(ConfigurationError, match="Declared has no model") as raised:
        register(declare(model=model))
    assert raised.value.hint == "Set model = YourModel."


def test_an_index_without_any_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="has no model"):
        register(type("Modelless", (VectorIndex,), {"name": "modelless"}))


def test_a_name_that_is_taken_is_refused_and_says_by_whom() -> None:
    with pytest.raises(ConfigurationError) as raised:
        register(declare(name="places"))
    assert str(raised.value) == (
        "The index name 'places' is taken by tests.testapp.ai_indexes. Rename one."
    )
    assert type(get_index("places")) is PlaceIndex


def test_a_module_that_is_loaded_again_takes_its_own_name_over() -> None:
    first, second = declare(), declare(fields=("name",))
    register(first)
    register(second)
    assert type(get_index("declared")) is second


def test_forgetting_an_index_twice_does_no_harm() -> None:
    register(declare())
    unregister("declared")
    unregister("declared")
    assert "declared" not in [index.name for index in get_indexes()]


# --- watching the models -------------------------------------------------------------------------
def _receivers() -> list[int]:
    return [len(signal.receivers) for signal in (post_save, post_delete, m2m_changed)]


def test_connecting_twice_changes_nothing() -> None:
    before = _receivers()
    receivers.connect_all()
    assert _receivers() == before


@pytest.mark.django_db
def test_a_new_index_is_watched_once_it_is_connected_and_no_longer_when_disconnected() -> None:
    register(declare(fields=("name",)))
    index, before = get_index("declared"), _receivers()
    Place.objects.create(name="before")
    receivers.connect(index)
    Place.objects.create(name="watched").tags.add(Tag.objects.create(name="coastal"))
    Child.objects.create(name="watched, too")
    Slugged.objects.create(slug="of another model")
    receivers.disconnect(index)
    assert _receivers() == before
    Place.objects.create(name="after")
    keys = DirtyRow.objects.filter(index_name="declared").values_list("object_key", flat=True)
    watched = Place.objects.filter(name__startswith="watched").values_list("pk", flat=True)
    assert set(keys) == {str(pk) for pk in watched}


def test_models_without_an_index_are_not_watched() -> None:
    for model in (Tag, apps.get_model("auth", "Group")):
        assert not post_save.has_listeners(model)
    assert post_save.has_listeners(Place)
    assert post_save.has_listeners(Child)


# --- declarations --------------------------------------------------------------------------------
class Owned(VectorIndex):
    name = "owned"
    model = Place
    fields: ClassVar = ("name", "owner__username", "owner__get_full_name", "province")


@pytest.mark.django_db
def test_fields_are_joined_and_what_is_empty_is_left_out(django_user_model: Any) -> None:
    owner = django_user_model.objects.create(username="amina", first_name="Amina", last_name="D.")
    index = Owned()
    place = Place(name=" Poblacion ", owner=owner, province="Sulu")
    assert index.get_text(place) == "Poblacion, amina, Amina D., Sulu"
    assert index.get_text(Place(name="Poblacion")) == "Poblacion"
    assert index.get_text(Place(name=" ")) == ""
    assert index.split(index.get_text(Place(name=" "))) == []


@pytest.mark.django_db
def test_an_empty_reverse_relation_is_left_out() -> None:
    index = type("Reverse", (Owned,), {"fields": ("name", "child__population")})()
    place = Place.objects.create(name="Poblacion")
    assert index.get_text(place) == "Poblacion"
    child = Child.objects.create(name="Malingao", population=7)
    assert index.get_text(Place.objects.get(pk=child.pk)) == "Malingao, 7"


def test_an_index_without_visible_to_says_so_when_it_is_asked() -> None:
    with pytest.raises(ConfigurationError, match="'owned' does not define visible_to"):
        Owned().visible_to(Place.objects.none(), None)


@pytest.mark.parametrize(
    "change",
    [
        {"fields": ("name",)},
        {"text_version": "2"},
        {"text_format": "markdown"},
        {"chunk_tokens": 100},
        {"chunk_overlap": 10},
    ],
)
def test_the_text_identity_changes_with_the_text(change: dict[str, Any]) -> None:
    changed = type("Changed", (Owned,), change)()
    assert changed.text_identity != Owned().text_identity
    assert Owned().text_identity == Owned().text_identity
    assert len(Owned().text_identity) == 16


@pytest.mark.parametrize(
    ("name", "key"), [("places", "x"), ("places", ""), ("uuids", "x"), ("composites", "[1")]
)
def test_a_key_that_is_none_of_the_model_has_no_primary_key(name: str, key: str) -> None:
    assert get_index(name).pk_of(key) is None
