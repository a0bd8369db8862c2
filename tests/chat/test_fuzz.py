"""Random plans: what is valid gives the rows of the same query by hand, all else is refused.

A glance at each change; `tests/acceptance/chat_fuzz.py` draws many more, in CI too.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, reset_queries
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings

from django_obc_ai.chat.query import run
from django_obc_ai.exceptions import DangerousQuery
from tests.chat.plans import UNDECLARED, by_hand, make_places, spoilt_plans, valid_plans

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("declared")]
_SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture
def fuzzed(asker: User) -> User:
    make_places(asker)
    return asker


def test_a_valid_plan_gives_the_rows_of_the_same_query_by_hand(fuzzed: User) -> None:
    @_SETTINGS
    @given(plan=valid_plans())
    def check(plan: dict[str, Any]) -> None:
        reset_queries()  # a full log would leave every capture empty
        with CaptureQueriesContext(connection) as captured:
            result = run(plan, user=fuzzed)
        assert len(captured) >= 3  # savepoint, query, rollback
        assert list(result.rows) == by_hand(plan, fuzzed)
        for each in captured.captured_queries:
            sql = each["sql"]
            assert sql.startswith(("SELECT", "SAVEPOINT", "ROLLBACK TO", "RELEASE"))
            assert not any(f'"{name}"' in sql for name in UNDECLARED)

    check()


def test_a_spoilt_plan_is_refused_before_any_query(fuzzed: User) -> None:
    fuzzed.has_perm("testapp.view_place")  # permissions are read once

    @_SETTINGS
    @given(plan=spoilt_plans())
    def check(plan: dict[str, Any]) -> None:
        reset_queries()
        with CaptureQueriesContext(connection) as captured, pytest.raises(DangerousQuery):
            run(plan, user=fuzzed)
        assert captured.captured_queries == []

    check()
