"""Filters of a search: what the index declares, and nothing that leads further."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from django_obc_ai.exceptions import InvalidFilterError
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import index_now, override_ai
from tests.testapp.ai_indexes import PlaceIndex
from tests.testapp.models import Place, Tag

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


@pytest.fixture
def rows() -> dict[str, Any]:
    users = get_user_model().objects
    amina = users.create(username="amina", password="hash-of-amina")
    Place.objects.create(name="Poblacion one", province="Sulu", owner=amina)
    Place.objects.create(name="Poblacion two", province="Basilan")
    Place.objects.create(name="Poblacion three", province="Basilan", is_hidden=True)
    index_now("places")
    return {"amina": amina}


def names(filters: dict[str, Any], **options: Any) -> list[str]:
    service = SimilaritySearchService()
    results = service.search("places", "Poblacion", user=None, filters=filters, **options)
    return sorted(result.object.name for result in results)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["Poblacion one", "Poblacion two"]),
        ({"province": "Sulu"}, ["Poblacion one"]),
        ({"province": "Basilan"}, ["Poblacion two"]),
        ({"province": "Lanao"}, []),
        ({"province__startswith": "S"}, ["Poblacion one"]),
        ({"province__in": ["Sulu", "Basilan"]}, ["Poblacion one", "Poblacion two"]),
        ({"province__in": []}, []),
        ({"province__range": ["A", "C"]}, ["Poblacion two"]),
        ({"owner__username": "amina"}, ["Poblacion one"]),
        ({"owner__username__isnull": True}, ["Poblacion two"]),
        ({"province": "Basilan", "owner__username": "amina"}, []),
    ],
)
def test_declared_paths_take_every_lookup_and_hidden_rows_stay_hidden(
    rows: dict[str, Any], filters: dict[str, Any], found: list[str]
) -> None:
    assert names(filters) == found


def test_filtered_rows_take_no_place(rows: dict[str, Any]) -> None:
    Place.objects.bulk_create([Place(name="Poblacion", province="Lanao") for _ in range(400)])
    index_now("places")
    assert names({"province": "Sulu"}, k=1, threshold=-1) == ["Poblacion one"]


@pytest.mark.parametrize(
    ("lookup", "hint"),
    [
        ("provinces", "Did you mean 'province'?"),
        ("owner__user", "Did you mean 'owner__username'?"),
        ("is_hidden", "Valid names: owner__username, province."),
        ("pk", "Valid names"),
        ("owner", ""),
        ("owner__password__startswith", ""),
        ("owner__username__password", ""),
        ("province_", "Did you mean 'province'?"),
        ("province_regex", "Did you mean 'province'?"),
        ("_connector", ""),
        ("_negated", ""),
        ("", "Valid names"),
        ("__", "Valid names"),
    ],
)
def test_what_the_index_does_not_declare_is_refused(
    rows: dict[str, Any], lookup: str, hint: str
) -> None:
    with pytest.raises(InvalidFilterError) as raised:
        names({lookup: "amina"})
    assert "places" in str(raised.value)
    assert hint in str(raised.value)


@pytest.mark.parametrize(
    ("lookup", "value"),
    [
        ("province__nosuch", "A"),
        ("province__in", 5),
        ("province__isnull", "maybe"),
        ("owner__username__date", "A"),
        ("province__range", 1),
        ("province__range", []),
        ("province__range", [1]),
        ("province__range", ["A", "B", "C"]),
        ("province__range", "AB"),
    ],
)
def test_a_lookup_or_value_that_does_not_fit_is_refused(
    rows: dict[str, Any], lookup: str, value: Any
) -> None:
    with pytest.raises(InvalidFilterError, match=lookup):
        names({lookup: value})


@pytest.fixture
def _relations_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlaceIndex, "filter_fields", ("owner", "pk", "tags__name"))


@pytest.mark.usefixtures("_relations_declared")
def test_a_declared_relation_is_no_way_to_the_fields_behind_it(rows: dict[str, Any]) -> None:
    assert names({"owner": rows["amina"]}) == ["Poblacion one"]
    assert names({"owner": rows["amina"].pk}) == ["Poblacion one"]
    assert names({"owner__in": [rows["amina"].pk]}) == ["Poblacion one"]
    assert names({"owner__isnull": True}) == ["Poblacion two"]
    for behind in ("owner__password__startswith", "owner__username", "owner__places__is_hidden"):
        with pytest.raises(InvalidFilterError, match=f"offers no filter '{behind}'"):
            names({behind: "hash"})


@pytest.mark.usefixtures("_relations_declared")
@pytest.mark.parametrize("value", ["no number", object(), [1]])
def test_a_key_that_fits_no_row_is_refused(rows: dict[str, Any], value: Any) -> None:
    with pytest.raises(InvalidFilterError, match="does not fit: pk"):
        names({"pk": value})


@pytest.mark.usefixtures("_relations_declared")
def test_a_row_that_matches_twice_is_found_once(rows: dict[str, Any]) -> None:
    place = Place.objects.get(name="Poblacion one")
    place.tags.set([Tag.objects.create(name="coastal"), Tag.objects.create(name="fishing")])
    index_now("places")
    assert names({"tags__name__in": ["coastal", "fishing"]}) == ["Poblacion one"]


def test_a_message_does_not_repeat_the_value(rows: dict[str, Any]) -> None:
    with pytest.raises(InvalidFilterError) as raised:
        names({"province__isnull": "private text"})
    assert "private text" not in str(raised.value)


@pytest.mark.parametrize("lookup", ["province__regex", "province__iregex"])
def test_regular_expressions_are_refused(rows: dict[str, Any], lookup: str) -> None:
    with pytest.raises(InvalidFilterError, match="does not filter by regular expression"):
        names({lookup: "(a+)+$"})


def test_a_value_that_the_database_cannot_take_is_refused(rows: dict[str, Any]) -> None:
    with pytest.raises(InvalidFilterError, match="'province' holds a NUL character"):
        names({"province": "Su\x00lu"})
    # In a list it is the database that sees it, and SQLite takes it.
    is_refused = connection.vendor == "postgresql"
    with pytest.raises(InvalidFilterError, match="fit") if is_refused else nullcontext():
        assert names({"province__in": ["Su\x00lu"]}) == []
