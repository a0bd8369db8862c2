"""Plans that may be run give the rows that the user may see, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_obc_ai.chat.guard import check_plan
from django_obc_ai.chat.plan import as_mapping, describe, describe_models, plan_schema
from django_obc_ai.chat.query import run
from django_obc_ai.exceptions import DangerousQuery
from tests.chat.conftest import DECLARED
from tests.testapp.models import Place

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("declared", "places")]


def query(**parts: Any) -> dict[str, Any]:
    return {"kind": "query", "model": "testapp.Place", **parts}


def where(path: str, value: Any, lookup: str = "exact", **more: Any) -> dict[str, Any]:
    return {"path": path, "lookup": lookup, "value": value, **more}


def rows(plan: dict[str, Any], user: Any) -> list[tuple[Any, ...]]:
    return list(run(plan, user=user).rows)


def test_a_listing_holds_visible_rows_in_order(asker: User) -> None:
    result = run(query(fields=["name", "province"], order_by=["-name"]), user=asker)
    assert result.columns == ("name", "province")
    assert [row[0] for row in result.rows] == ["Upi", "Parang", "Mine", "Jolo"]
    assert (result.total, result.is_cut) == (4, False)


def test_a_relation_is_followed_to_visible_rows_only(asker: User) -> None:
    plan = query(fields=["name", "owner.username"], order_by=["name"])
    assert rows(plan, asker) == [
        ("Jolo", None), ("Mine", "asker"), ("Parang", None), ("Upi", "asker"),
    ]  # fmt: skip
    assert rows(query(filters=[where("owner.username", "ghost")]), asker) == []
    assert rows(query(fields=["name"], order_by=["name"]), asker) == [
        ("Jolo",), ("Mine",), ("Parang",), ("Upi",),
    ]  # fmt: skip


def test_figures_and_breakdowns_count_visible_rows(asker: User) -> None:
    count = {"function": "count", "alias": "places"}
    assert rows(query(aggregate=[count]), asker) == [(4,)]
    plan = query(group_by=["province"], aggregate=[count], order_by=["-places", "province"])
    assert rows(plan, asker) == [("Maguindanao", 2), ("Sulu", 2)]
    cut = run({**plan, "limit": 1}, user=asker)
    assert (cut.rows, cut.total, cut.is_cut) == ((("Maguindanao", 2),), 2, True)


def test_filters_take_every_offered_lookup(asker: User) -> None:
    plan = query(fields=["name"], filters=[where("name", ["Upi", "Jolo"], "in")])
    assert rows(plan, asker) == [("Jolo",), ("Upi",)]
    plan = query(fields=["name"], filters=[where("province", "sulu", "iexact", negate=True)])
    assert rows(plan, asker) == [("Parang",), ("Upi",)]
    people = {"kind": "query", "model": "auth.User", "fields": ["username"]}
    plan = {**people, "filters": [where("date_joined", 2000, "year")]}
    assert rows(plan, asker) == []
    plan = {**people, "filters": [where("is_active", True)], "order_by": ["username"]}
    assert rows(plan, asker) == [("asker",)]


def test_nothing_but_selects_runs_and_no_undeclared_column_is_named(asker: User) -> None:
    plan = query(
        fields=["name", "owner.username"],
        filters=[where("owner.is_active", True), where("name", "x'; DROP TABLE", "contains")],
        order_by=["owner.username"],
    )
    with CaptureQueriesContext(connection) as captured:
        run(plan, user=asker)
    for each in captured.captured_queries:
        assert each["sql"].startswith(("SELECT", "SAVEPOINT", "ROLLBACK TO", "RELEASE", "BEGIN"))
        assert "password" not in each["sql"]


def test_whoever_lacks_the_view_permission_gets_the_answer_of_an_absent_model(asker: User) -> None:
    texts, counts = set(), set()
    for user, model in [
        (AnonymousUser(), "testapp.Place"), (None, "testapp.Place"),
        (User.objects.create_user("nobody"), "testapp.Place"), (asker, "testapp.Nothing"),
        (asker, "sessions.Session"),
    ]:  # fmt: skip
        with CaptureQueriesContext(connection) as captured, pytest.raises(DangerousQuery) as caught:
            run({"kind": "query", "model": model}, user=user)
        texts.add(str(caught.value))
        if getattr(user, "is_authenticated", False):
            counts.add(len(captured))
    assert len(texts) == 1
    assert len(counts) <= 2  # permissions are cached with the user


def test_a_plan_made_by_hand_is_checked_again(asker: User) -> None:
    checked = check_plan(query(fields=["name"]), user=asker)
    with pytest.raises(DangerousQuery):
        run(checked, user=None)
    object.__setattr__(checked, "fields", ("owner.password",))
    with pytest.raises(DangerousQuery):
        run(checked, user=asker)


def test_a_plan_survives_json_and_describes_itself(asker: User) -> None:
    plan = query(
        filters=[where("name", ["Upi"], "in"), where("province", "Sulu", negate=True)],
        group_by=["province"], aggregate=[{"function": "count", "path": "", "alias": "n"}],
        order_by=["-n"], limit=5,
    )  # fmt: skip
    checked = check_plan(plan, user=asker)
    assert check_plan(as_mapping(checked), user=asker) == checked
    assert describe(checked) == (
        "Place: number of Place, for each province, where name is one of Upi and not: province is"
        " Sulu, ordered by n descending (at most 5 rows)"
    )
    assert "bawat province" in describe(checked, "tl")


def test_the_model_is_shown_what_the_user_may_ask(asker: User) -> None:
    text = describe_models(asker, ["places"])
    assert "Name of the place" in text and "owner. leads to auth.User" in text
    assert "password" not in text and "is_hidden" not in text
    assert plan_schema(asker)["properties"]["model"]["enum"] == ["auth.User", "testapp.Place"]
    assert "model" not in plan_schema(None)["properties"]


def test_the_model_is_told_what_things_are_called_besides(asker: User) -> None:
    more = {"synonyms": ["lugar", "barangay"], "field_synonyms": {"name": ["pangalan"]}}
    models = {**DECLARED, "testapp.Place": {**DECLARED["testapp.Place"], **more}}
    with override_settings(OBC_AI={"CHAT": {"models": models}}):
        text = describe_models(asker)
    assert "testapp.Place (places; also called lugar, barangay):" in text
    assert "- name: text; also called pangalan; Name of the place; lookups" in text
    assert "- province: text; lookups" in text


def test_the_savepoint_is_rolled_back_and_the_callers_work_stays(asker: User) -> None:
    with transaction.atomic():
        Place.objects.create(name="New", province="Sulu")
        assert ("New",) in rows(query(fields=["name"]), asker)
    assert Place.objects.filter(name="New").exists()
