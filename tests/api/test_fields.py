"""Values of the database and moments as JSON has them."""

from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError
from django.test import override_settings

from tests.api.conftest import Person, is_problem
from tests.extras import requires

pytestmark = requires("rest_framework")
NOON = datetime.datetime(2026, 11, 29, 12, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (5, 5),
        ("a", "a"),
        (1.5, 1.5),
        (float("nan"), None),
        (float("-inf"), None),
        (Decimal("1.50"), "1.50"),
        (datetime.date(2026, 11, 29), "2026-11-29"),
        (datetime.time(8, 5), "08:05:00"),
        (NOON, "2026-11-29T12:00:00Z"),
        (datetime.timedelta(hours=1), "P0DT01H00M00S"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_a_value_becomes_what_json_has(value: Any, shown: Any) -> None:
    from django_obc_ai.api.fields import Cell

    found = Cell().to_representation(value)
    assert json.loads(json.dumps(found, allow_nan=False)) == shown


def test_a_moment_without_a_zone_is_the_projects() -> None:
    from django_obc_ai.api.fields import Moment

    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Manila"):
        naive = datetime.datetime(2026, 11, 29, 20, 0)  # noqa: DTZ001
        assert Moment().to_representation(naive) == "2026-11-29T12:00:00Z"


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0"), ("0.000000001", "0.000000001"), ("10", "10"), ("1.500", "1.5"), ("-2", "-2")],
)
def test_amounts_have_no_exponent(amount: str, text: str) -> None:
    from django_obc_ai.api.fields import Dollars

    assert Dollars().to_representation(Decimal(amount)) == text


def test_days_and_keys_are_text() -> None:
    from rest_framework.exceptions import ValidationError

    from django_obc_ai.api.fields import Number, WholeNumber

    assert WholeNumber().run_validation(5.0) == 5
    for wrong in (5.5, True, "5", None, 10**400):
        with pytest.raises(ValidationError):
            Number(max_value=1).run_validation(wrong)


@pytest.mark.django_db
@pytest.mark.parametrize("error", [DataError("integer out of range"), OverflowError("too large")])
def test_what_no_column_holds_is_a_fault_of_the_filter(
    amina: Person, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: Any, **arguments: Any) -> Any:
        raise error

    monkeypatch.setattr("django_obc_ai.api.search.SimilaritySearchService.search", fail)
    asked = {"query": "lake", "index": "places", "filters": {"province": 10**30}}
    body = is_problem(amina.post("search/", asked), 400, "parse_error")
    assert "integer" not in body["detail"]
