"""Filters of a search: what the index declares, and nothing that leads further."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models import Exists, F, Q, Value
from django.db.models.expressions import RawSQL

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


def names(filters: dict[str, Any] | Q, **options: Any) -> list[str]:
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
    with pytest.raises(InvalidFilterError, match="'province__in' holds a NUL character"):
        names({"province__in": ["Sulu", "Su\x00lu"]})


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (Q(), ["one", "two"]),
        (Q(province="Sulu"), ["one"]),
        (~Q(province="Sulu"), ["two"]),
        (Q(province="Sulu") | Q(province="Basilan"), ["one", "two"]),
        (Q(province="Sulu") & Q(owner__username="amina"), ["one"]),
        (~(Q(province="Sulu") | Q(owner__username="amina")), ["two"]),
        (Q(province__in=["Sulu"]) | ~Q(province__range=("A", "Z")), ["one"]),
    ],
)
def test_lookups_are_combined_by_and_or_and_not(
    rows: dict[str, Any], condition: Q, found: list[str]
) -> None:
    assert names(condition) == [f"Poblacion {each}" for each in found]


def nested(depth: int) -> Q:
    found = Q(province="Sulu")
    for _ in range(depth):
        found = ~(found | Q(province="Basilan"))
    return found


def many(count: int) -> Q:
    return Q(*(("province", f"p{number}") for number in range(count)), _connector=Q.OR)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (Q(province="Sulu") | Q(is_hidden=True), "offers no filter 'is_hidden'"),
        (~Q(~Q(owner__password="x")), "offers no filter 'owner__password'"),
        (Q(province="Sulu") | ~Q(province__regex="a"), "regular expression"),
        (Q(province__nosuch="x"), "does not fit: province__nosuch"),
        (Q(province=F("name")), "a list of values, not F"),
        (Q(province__in=[F("name")]), "a list of values, not F"),
        (Q(province=Value("Sulu")), "a list of values, not Value"),
        (Q(province__in=Place.objects.values("name")), "a list of values, not QuerySet"),
        (Q(Exists(Place.objects.all())), "holds Exists"),
        (Q(province="Sulu") ^ Q(province="Basilan"), "combines lookups by XOR"),
        (nested(30), "nested deeper than"),
        (many(101), "more than 100"),
        (Q(province="Su\x00lu"), "NUL"),
    ],
)
def test_a_condition_holds_plain_lookups_of_declared_fields_alone(
    rows: dict[str, Any], condition: Q, said: str
) -> None:
    with pytest.raises(InvalidFilterError, match=said):
        names(condition)
    assert names(many(100)) == []


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"province__in": iter([RawSQL("(select 'Sulu')", [])])}, "not RawSQL|not list_iterator"),
        ({"province__in": (each for each in ["Sulu"])}, "not generator"),
        ({"province__in": {F("name"): 1}}, "not F"),
        ({"province__in": [["Sulu", F("name")]]}, "not F"),
        ({"province__in": {"Sulu": 1}.keys()}, "not dict_keys"),
        ({"province__in": [str(number) for number in range(1_001)]}, "at most 1,000 values"),
        ({"province__in": range(10**12)}, "at most 1,000 values"),
        ({"province__contains": "a" * 10_001}, "more than 10,000 characters"),
        ({"province": "\ud800"}, "surrogate"),
        ([("province", "Sulu")], "a mapping or a Q, not list"),
    ],
)
def test_values_that_are_no_plain_ones_are_refused(
    rows: dict[str, Any], filters: Any, text: str
) -> None:
    with pytest.raises(InvalidFilterError, match=text):
        names(filters)
