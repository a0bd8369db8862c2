"""The ledger's rows: constraints that hold in the database itself, and no prompt."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, models, transaction
from django.test import override_settings

from django_obc_ai.models import AIOperation

pytestmark = [
    pytest.mark.django_db(databases=["default", "postgres"]),
    pytest.mark.usefixtures("postgres_alias"),
]


@pytest.fixture(params=["default", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    with override_settings(OBC_AI={"DATABASE": request.param}):
        yield request.param


def make(**values: Any) -> AIOperation:
    return AIOperation.objects.create(
        **{"provider": "default", "success": True, "prompt_hash": "", **values}
    )


@pytest.mark.parametrize(
    "values",
    [
        {"cost_usd": Decimal("-0.000000001")},
        {"cached": True, "cost_usd": Decimal("0.000000001")},
        {"input_tokens": 5, "cached_tokens": 6},
        {"success": True, "error_category": "timeout"},
        {"input_tokens": -1},
        {"output_tokens": -1},
        {"thinking_tokens": -1},
        {"tool_tokens": -1},
        {"response_time_ms": -1},
        {"attempts": -1},
        {"success": None},
    ],
)
def test_the_database_refuses_a_row_that_cannot_be_true(
    database: str, values: dict[str, Any]
) -> None:
    with pytest.raises(IntegrityError), transaction.atomic(using=database):
        make(**values)
    assert not AIOperation.objects.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"cost_usd": Decimal("0.000000001")},
        {"cached": True, "cost_usd": 0},
        {"input_tokens": 5, "cached_tokens": 5},
        {"success": False, "error_category": "timeout", "cost_usd": Decimal(1)},
        {"success": False},
        {"attempts": 0},
        {"input_tokens": 2**40},
    ],
)
def test_the_database_takes_what_happens(database: str, values: dict[str, Any]) -> None:
    pk = make(**values).pk
    found = AIOperation.objects.get(pk=pk)
    assert {name: getattr(found, name) for name in values} == values
    assert found._state.db == database


def test_an_operation_id_is_stored_once(database: str) -> None:
    made = make()
    with pytest.raises(IntegrityError), transaction.atomic(using=database):
        make(id=made.pk)


def test_a_row_says_what_was_done_when_and_for_how_much() -> None:
    operation = AIOperation(
        operation_type="chat",
        cost_usd=Decimal("0.001500000"),
        created_at=datetime(2026, 7, 1, 8, 30, tzinfo=UTC),
        input_tokens=1,
        cached_tokens=1,
        output_tokens=20,
        thinking_tokens=300,
        tool_tokens=4_000,
    )
    assert str(operation) == "chat 2026-07-01 08:30:00 $0.001500000"
    assert operation.total_tokens == 4_321
    assert isinstance(operation.pk, uuid.UUID)


def test_a_deleted_user_leaves_the_row() -> None:
    user = get_user_model().objects.create(username="amina")
    operation = make(user=user)
    user.delete()
    operation.refresh_from_db()
    assert operation.user_id is None


def test_a_row_may_name_a_user_of_another_database() -> None:
    user = get_user_model().objects.create(username="amina")
    with override_settings(OBC_AI={"DATABASE": "postgres"}):
        make(user_id=user.pk)
        assert AIOperation.objects.get().user_id == user.pk
    assert not AIOperation.objects.using("default").exists()


def test_no_column_can_hold_a_prompt_or_an_answer() -> None:
    texts = {
        field.name
        for field in AIOperation._meta.get_fields()
        if isinstance(field, models.TextField | models.JSONField | models.BinaryField)
    }
    assert texts == {"error_message"}


def test_constraints_and_indexes_have_names_of_ours() -> None:
    for each in [*AIOperation._meta.constraints, *AIOperation._meta.indexes]:
        assert each.name.startswith("obc_ai_op_")
