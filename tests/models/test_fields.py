"""NanoDollarField: Decimal dollars in Python, whole nano-dollars in the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django import forms
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Avg, ExpressionWrapper, F, Max, Min, Q, Sum, Value
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from django_obc_ai.models import AIOperation, NanoDollarField

NANO = Decimal("0.000000001")
AMOUNTS = [Decimal("0.1"), Decimal("0.2"), Decimal("1234567.000000001"), Decimal(0)]
MOST = Decimal(2**63 - 1).scaleb(-9)
FIELD = NanoDollarField()


@pytest.fixture(params=["default", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    with override_settings(OBC_AI={"DATABASE": request.param}):
        yield request.param


pytestmark = [
    pytest.mark.django_db(databases=["default", "postgres"]),
    pytest.mark.usefixtures("postgres_alias"),
]


def make(cost: Any = 0, **values: Any) -> AIOperation:
    return AIOperation.objects.create(
        cost_usd=cost, provider="default", success=True, prompt_hash="", **values
    )


@pytest.fixture
def rows(database: str) -> list[AIOperation]:
    return [make(cost, module=f"m{number}") for number, cost in enumerate(AMOUNTS)]


def test_the_column_holds_whole_nano_dollars(database: str) -> None:
    make(Decimal("1.000000001"))
    connection = connections[database]
    with connection.cursor() as cursor:
        cursor.execute("SELECT cost_usd FROM django_obc_ai_aioperation")
        assert cursor.fetchone() == (1_000_000_001,)


@pytest.mark.parametrize(
    "amount", [*AMOUNTS, NANO, MOST, 5, "0.25", Decimal("1E+3"), Decimal("0E-20")]
)
def test_an_amount_comes_back_exactly(database: str, amount: Any) -> None:
    pk = make(amount).pk
    found = AIOperation.objects.get(pk=pk).cost_usd
    assert isinstance(found, Decimal)
    assert found == Decimal(amount)


def test_values_and_values_list_are_dollars_too(rows: list[AIOperation]) -> None:
    objects = AIOperation.objects.order_by("module")
    assert list(objects.values_list("cost_usd", flat=True)) == AMOUNTS
    assert [row["cost_usd"] for row in objects.values("cost_usd")] == AMOUNTS
    assert {type(value) for value in objects.values_list("cost_usd", flat=True)} == {Decimal}


def test_sums_minima_and_maxima_are_exact_dollars(rows: list[AIOperation]) -> None:
    found = AIOperation.objects.aggregate(Sum("cost_usd"), Min("cost_usd"), Max("cost_usd"))
    assert found == {
        "cost_usd__sum": Decimal("1234567.300000001"),
        "cost_usd__min": Decimal(0),
        "cost_usd__max": Decimal("1234567.000000001"),
    }
    assert {type(value) for value in found.values()} == {Decimal}


def test_sums_of_no_rows_are_none_or_the_default(database: str) -> None:
    empty = AIOperation.objects.all()
    assert empty.aggregate(x=Sum("cost_usd")) == {"x": None}
    assert empty.aggregate(x=Sum("cost_usd", default=Decimal("1.5"))) == {"x": Decimal("1.5")}


def test_an_average_is_dollars_if_it_says_so(rows: list[AIOperation]) -> None:
    """Django averages integers as floats, so an average names its output field."""
    money = Avg("cost_usd", output_field=NanoDollarField())
    objects = AIOperation.objects.filter(cost_usd__lt=1)
    assert objects.aggregate(x=money) == {"x": Decimal("0.1")}


@pytest.mark.parametrize(
    ("lookup", "value", "count"),
    [
        ("exact", Decimal("0.1"), 1),
        ("exact", "0.1", 1),
        ("exact", 0, 1),
        ("gt", Decimal("0.1"), 2),
        ("gte", Decimal("0.1"), 3),
        ("gte", "0.2", 2),
        ("lt", Decimal("0.2"), 2),
        ("lte", Decimal("0.2"), 3),
        ("gt", Decimal(1234567), 1),
        ("gt", Decimal("1234567.000000001"), 0),
        ("in", [Decimal("0.1"), "0.2", 7], 2),
        ("range", (Decimal("0.1"), Decimal("0.2")), 2),
        ("isnull", True, 0),
        ("lt", Decimal("1e12"), 4),
        ("gte", Decimal("1e12"), 0),
        ("exact", Decimal("1e12"), 0),
    ],
)
def test_filters_compare_dollars(
    rows: list[AIOperation], lookup: str, value: Any, count: int
) -> None:
    assert AIOperation.objects.filter(**{f"cost_usd__{lookup}": value}).count() == count


@pytest.mark.parametrize("lookup", ["exact", "gt", "gte", "lt", "lte", "in", "range"])
def test_floats_are_refused_in_every_filter(database: str, lookup: str) -> None:
    value: Any = {"in": [0.5], "range": (0.1, 0.5)}.get(lookup, 0.5)
    with pytest.raises(ValidationError, match="never float"):
        list(AIOperation.objects.filter(**{f"cost_usd__{lookup}": value}))


def test_floats_are_refused_in_writes(database: str) -> None:
    with pytest.raises(ValidationError, match="never float"):
        make(0.5)
    with pytest.raises(ValidationError, match="never float"):
        AIOperation.objects.update(cost_usd=0.5)
    with pytest.raises(ValidationError, match="never float"):
        AIOperation.objects.bulk_create([AIOperation(cost_usd=0.5, success=True)])


def test_expressions_of_the_field_stay_money(rows: list[AIOperation]) -> None:
    tenth = Value(Decimal("0.1"), output_field=NanoDollarField())
    AIOperation.objects.filter(cost_usd__lt=1).update(cost_usd=F("cost_usd") + tenth)
    cheap = AIOperation.objects.filter(cost_usd__lt=1).order_by("module")
    assert list(cheap.values_list("cost_usd", flat=True)) == [
        Decimal("0.2"),
        Decimal("0.3"),
        Decimal("0.1"),
    ]
    twice = ExpressionWrapper(F("cost_usd") * 2, output_field=NanoDollarField())
    assert list(cheap.annotate(twice=twice).values_list("twice", flat=True)) == [
        Decimal("0.4"),
        Decimal("0.6"),
        Decimal("0.2"),
    ]
    assert AIOperation.objects.filter(cost_usd=F("cost_usd")).count() == 4
    assert AIOperation.objects.filter(Q(cost_usd__gt=F("cost_usd") - tenth)).count() == 4


def test_ordering_is_by_amount(rows: list[AIOperation]) -> None:
    ordered = AIOperation.objects.order_by("-cost_usd").values_list("cost_usd", flat=True)
    assert list(ordered) == sorted(AMOUNTS, reverse=True)


@pytest.mark.parametrize(
    "value", [0.5, float("nan"), "five", "", "NaN", Decimal("Infinity"), b"1", object(), [1], "1,5"]
)
def test_what_is_no_exact_amount_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        FIELD.to_python(value)
    with pytest.raises(ValidationError):
        FIELD.get_prep_value(value)
    with pytest.raises(ValidationError):
        FIELD.clean(value, None)


@pytest.mark.parametrize("value", [None, 3, "3.5", Decimal("0.1")])
def test_what_is_exact_is_taken(value: Any) -> None:
    assert FIELD.to_python(value) == (None if value is None else Decimal(value))


def test_none_stays_none() -> None:
    assert FIELD.get_prep_value(None) is None
    assert FIELD.from_db_value(None, None, None) is None


@given(st.integers(-(2**63), 2**63 - 1))
def test_what_is_stored_comes_back(nano: int) -> None:
    usd = FIELD.from_db_value(nano, None, None)
    assert FIELD.get_prep_value(usd) == nano


@pytest.mark.parametrize("amount", [MOST + NANO, Decimal("1e10"), -MOST - 2 * NANO])
def test_amounts_beyond_the_column_are_refused_by_cleaning(amount: Decimal) -> None:
    with pytest.raises(ValidationError):
        FIELD.clean(amount, None)
    assert FIELD.clean(MOST, None) == MOST


class CostForm(forms.ModelForm):
    class Meta:
        model = AIOperation
        fields = ["cost_usd"]


def test_a_form_takes_and_shows_dollars() -> None:
    form = CostForm({"cost_usd": "0.000000001"})
    assert form.is_valid(), form.errors
    assert form.cleaned_data == {"cost_usd": NANO}
    shown = CostForm(instance=AIOperation(cost_usd=Decimal("1.5")))
    assert 'value="1.5"' in str(shown["cost_usd"])


@pytest.mark.parametrize("text", ["five", "NaN", "0.0000000001", "1e12", ""])
def test_a_form_refuses_what_the_column_cannot_hold(text: str) -> None:
    assert not CostForm({"cost_usd": text}).is_valid()


def test_a_dump_is_exact_and_loads_again(rows: list[AIOperation]) -> None:
    text = serializers.serialize("json", AIOperation.objects.order_by("module"))
    assert [each["fields"]["cost_usd"] for each in json.loads(text)] == [
        str(row.cost_usd) for row in AIOperation.objects.order_by("module")
    ]
    loaded = [each.object.cost_usd for each in serializers.deserialize("json", text)]
    assert loaded == AMOUNTS
