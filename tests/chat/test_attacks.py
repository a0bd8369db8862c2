"""Ways in that were tried: values at the edge of types, slips in declarations, hidden relations."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_obc_ai.chat.guard import check_plan
from django_obc_ai.chat.plan import as_mapping
from django_obc_ai.chat.query import run
from django_obc_ai.exceptions import ConfigurationError, DangerousQuery
from django_obc_ai.types.chat import QueryAggregate, QueryFilter, QueryPlan
from tests.chat.surveys import DECLARED
from tests.testapp.models import CompositeThing, Place, Survey, Tag

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _declared() -> Iterator[None]:
    with override_settings(OBC_AI={"CHAT": {"models": DECLARED}}):
        yield


@pytest.fixture
def root(db: None) -> User:
    """A superuser: what is hidden stays hidden from one too."""
    return User.objects.create_superuser("root")


def changed(label: str, **parts: Any) -> Any:
    entry = {**DECLARED[label], **parts}
    return override_settings(OBC_AI={"CHAT": {"models": {**DECLARED, label: entry}}})


def plan(**parts: Any) -> dict[str, Any]:
    return {"kind": "query", "model": "testapp.Survey", **parts}


def where(path: str, value: Any, lookup: str = "exact", **more: Any) -> dict[str, Any]:
    condition = {"path": path, "lookup": lookup, "value": value, **more}
    return plan(fields=["title"], order_by=["title"], filters=[condition])


def titles(raw: Any, user: User) -> list[Any]:
    return [row[0] for row in run(raw, user=user).rows]


HUGE = 10**5000
VALUES: list[tuple[str, str, Any]] = [
    ("level", "exact", HUGE), ("budget", "exact", HUGE), ("share", "lt", HUGE),
    ("count", "exact", HUGE), ("count", "exact", 2**63), ("count", "exact", True),
    ("level", "exact", True), ("status", "exact", "x" * 10**6), ("status", "exact", "\ud800"),
    ("status", "in", ["o", "nothing"]), ("share", "gt", float("inf")), ("share", "gt", 1e308),
    ("share", "exact", float("nan")), ("budget", "exact", "NaN"), ("budget", "gt", "-Infinity"),
    ("budget", "exact", "1e-9999999"), ("budget", "exact", "1_0"), ("budget", "exact", "\u0663"),
    ("budget", "exact", 1e-300), ("budget", "exact", "sNaN"), ("count", "exact", "1"),
    ("started_at", "year", 1), ("started_at", "year", 9999), ("started_at", "month", 13),
    ("started_at", "lt", "0001-01-01T00:00"), ("started_at", "lt", "9999-12-31T23:59-12:00"),
    ("date", "exact", "2026-01-31' OR 1=1"), ("date", "exact", "2026-01-31T10:00:00"),
    ("date", "exact", "20260131"), ("date", "exact", "2026-02-30"), ("date", "year", 2026.5),
    ("token", "exact", "x"), ("token", "exact", "{" * 41), ("title", "in", [None]),
    ("title", "in", ["x"] * 10**6), ("title", "range", ["a", "b"]), ("data", "exact", "x"),
    ("data", "has_key", "x"), ("data", "isnull", True), ("title", "exact", {"a": 1}),
    ("created.year", "exact", 2026), ("date.year", "exact", 2026), ("title.length", "exact", 1),
    ("place.pk", "exact", 1), ("place_id", "exact", 1), ("place", "exact", 1), ("id", "gt", 0),
    ("pk", "gt", 0), ("by_slug_id", "exact", "x"), ("answers_secret", "startswith", "a"),
    ("place.surveys.answers_secret", "startswith", "a"), ("place.owner.password", "exact", "x"),
    ("place.owner.surveys", "isnull", True), ("place.is_hidden", "exact", True),
]  # fmt: skip


@pytest.mark.parametrize(("path", "lookup", "value"), VALUES, ids=map(str, range(len(VALUES))))
def test_values_and_paths_beyond_a_type_are_refused(
    path: str, lookup: str, value: Any, root: User
) -> None:
    with pytest.raises(DangerousQuery), CaptureQueriesContext(connection) as captured:
        run(where(path, value, lookup), user=root)
    assert len(captured) == 0


def test_values_within_a_type_find_their_rows(root: User) -> None:
    moment = datetime.datetime(2026, 1, 31, 8, tzinfo=datetime.UTC)
    Survey.objects.create(
        title="a", year=2026, count=3, length=2**62, budget=Decimal("0.10"), share=0.5, status="d",
        level=2, started_at=moment, date=moment.date(), token="12345678123456781234567812345678",
    )  # fmt: skip
    Survey.objects.create(title="b")
    for path, lookup, value in [
        ("year", "exact", 2026), ("year", "gt", 5.0), ("count", "in", [3, 2**62]),
        ("length", "gte", 2**62), ("budget", "exact", 0.1), ("budget", "exact", "0.1"),
        ("share", "lte", 1), ("status", "exact", "deleted"), ("status", "exact", "d"),
        ("level", "exact", "HIGH"), ("level", "in", [2]), ("date", "year", 2026),
        ("date", "exact", "2026-01-31"), ("date", "exact", "2026-01-31T00:00:00"),
        ("started_at", "exact", "2026-01-31T16:00+08:00"), ("started_at", "month", 1),
        ("started_at", "exact", "2026-01-31T16:00"), ("title", "isnull", False),
        ("token", "exact", "12345678-1234-5678-1234-567812345678"),
        ("budget", "range", ["0", 10**9]), ("budget", "lt", 10**15),
    ]:  # fmt: skip
        checked = check_plan(where(path, value, lookup), user=root)
        assert check_plan(as_mapping(checked), user=root) == checked
        assert titles(checked, root)[0] == "a", (path, lookup, value)
    result = run(plan(fields=["status", "level"], order_by=["title"]), user=root)
    assert result.rows == (("Deleted", "High"), ("Open", None))


def test_fields_named_like_lookups_are_fields(root: User) -> None:
    for year in (2020, 2020, 2021):
        Survey.objects.create(title="a", year=year, count=2, length=1)
    total = {"function": "sum", "path": "count", "alias": "total"}
    raw = plan(group_by=["year", "length", "date"], aggregate=[total], order_by=["-total"])
    assert run(raw, user=root).rows == ((2020, 1, None, 4), (2021, 1, None, 2))


def test_a_sum_out_of_range_is_refused(root: User) -> None:
    for _ in range(3):
        Survey.objects.create(title="a", length=2**62)
    total = plan(aggregate=[{"function": "sum", "path": "length", "alias": "total"}])
    if connection.vendor == "sqlite":
        with pytest.raises(DangerousQuery, match="too large"):
            run(total, user=root)
    else:
        assert run(total, user=root).rows == ((3 * 2**62,),)
    assert Survey.objects.count() == 3


def _reply(raw: Any, user: User) -> Any:
    result = run(raw, user=user)
    return result.rows, result.total, result.is_cut


_COUNT = {"function": "count", "alias": "n"}
HIDDEN_RELATIONS: list[dict[str, Any]] = [
    plan(fields=["title", "place.name", "place.owner.username", "by_slug.name"]),
    plan(fields=["title"], order_by=["place.name"]),
    plan(fields=["title"], order_by=["-place.owner.username", "-by_slug.name"], limit=2),
    where("place.name", True, "isnull"), where("place.name", False, "isnull", negate=True),
    where("place.name", "secret"), where("place.name", "secret", negate=True),
    where("place.name", "s", "startswith", negate=True), where("place.owner.username", "ghost"),
    where("place.owner.username", ["root"], "in", negate=True), where("by_slug.name", "hidden"),
    plan(aggregate=[_COUNT, {"function": "count", "path": "place.name", "alias": "named"}]),
    plan(group_by=["place.name"], aggregate=[_COUNT], order_by=["-n", "place.name"]),
    plan(group_by=["place.owner.username", "by_slug.name"], aggregate=[_COUNT]),
]  # fmt: skip


@pytest.mark.parametrize("raw", HIDDEN_RELATIONS, ids=map(str, range(len(HIDDEN_RELATIONS))))
def test_a_related_row_that_is_hidden_is_as_absent(raw: dict[str, Any], root: User) -> None:
    ghost = User.objects.create_user("ghost")
    secret = Place.objects.create(name="secret", is_hidden=True, owner=root)
    of_ghost = Place.objects.create(name="open", owner=ghost)
    mine = Place.objects.create(name="mine", owner=root)
    hidden, shown = Tag.objects.create(name="hidden"), Tag.objects.create(name="shown")
    for at, (place, tag) in enumerate(
        [(secret, hidden), (of_ghost, shown), (mine, None), (None, shown), (mine, hidden)]
    ):
        Survey.objects.create(title=f"t{at}", place=place, by_slug=tag)
    before = _reply(raw, root)
    secret.name = "renamed"
    secret.save()
    assert _reply(raw, root) == before
    Survey.objects.filter(place=secret).update(place=None)
    Survey.objects.filter(by_slug=hidden).update(by_slug=None)
    Place.objects.filter(owner=ghost).update(owner=None)
    assert _reply(raw, root) == before


def test_a_text_in_the_place_of_a_list_opens_nothing(root: User) -> None:
    people = {"kind": "query", "model": "auth.User", "fields": ["password"]}
    with changed("auth.User", fields="username_password"), pytest.raises(DangerousQuery):
        check_plan(people, user=root)
    with changed("auth.User", lookups={"username": "iexact"}), pytest.raises(DangerousQuery):
        condition = {"path": "username", "value": "root"}
        check_plan({**people, "fields": ["username"], "filters": [condition]}, user=root)
    with changed("testapp.Survey", relations="place_"), pytest.raises(DangerousQuery):
        check_plan(plan(fields=["place.name"]), user=root)
    with changed("testapp.Survey", aggregates="count"), pytest.raises(DangerousQuery):
        check_plan(plan(aggregate=[_COUNT]), user=root)


def test_the_aggregates_of_the_model_that_holds_the_field_count(root: User) -> None:
    figure = {"function": "count", "path": "place.name", "alias": "n"}
    assert check_plan(plan(aggregate=[figure]), user=root)
    with changed("testapp.Place", aggregates=()), pytest.raises(DangerousQuery):
        check_plan(plan(aggregate=[figure]), user=root)


def test_small_groups_of_a_related_model_are_kept_back(root: User) -> None:
    places = [Place.objects.create(name=name) for name in ("few", "many", "many")]
    for at in range(6):
        Survey.objects.create(title="a", place=places[min(at, 1)])
    with changed("testapp.Place", min_group_size=3):
        for raw in (
            plan(fields=["place.name"]), where("place.name", "few"),
            plan(fields=["title"], order_by=["place.name"]),
        ):  # fmt: skip
            with pytest.raises(DangerousQuery, match="no single rows"):
                check_plan(raw, user=root)
        grouped = plan(group_by=["place.name"], aggregate=[_COUNT])
        assert run(grouped, user=root).rows == (("many", 5),)
        filters = [{"path": "place.name", "value": "few"}]
        assert run(plan(aggregate=[_COUNT], filters=filters), user=root).rows == ((None,),)
        assert run(plan(aggregate=[_COUNT]), user=root).rows == ((6,),)


SCOPES: list[Callable[[Any, Any], Any]] = [
    lambda rows, user: rows.filter(title__in="ab").distinct(),
    lambda rows, user: rows.filter(title="a") | rows.filter(title="b"),
    lambda rows, user: rows.filter(title="a").union(rows.filter(title="b")),
    lambda rows, user: rows.order_by("title")[:2],
    lambda rows, user: rows.extra(where=["title in ('a', 'b')"]),
    lambda rows, user: rows.filter(place__tags__name__in=["x", "y"]),
    lambda rows, user: rows.values("title").filter(title__lt="c"),
    lambda rows, user: rows.only("title").select_related("place").filter(title__lt="c"),
]  # fmt: skip


@pytest.mark.parametrize("scope", SCOPES, ids=map(str, range(len(SCOPES))))
def test_any_queryset_may_say_what_is_visible(scope: Any, root: User) -> None:
    place = Place.objects.create(name="tagged")
    place.tags.set([Tag.objects.create(name="x"), Tag.objects.create(name="y")])
    for title in "abc":
        Survey.objects.create(title=title, place=place if title != "c" else None)
    with changed("testapp.Survey", visible_to=scope):
        assert titles(plan(fields=["title"], order_by=["title"]), root) == ["a", "b"]
        assert run(plan(aggregate=[_COUNT]), user=root).rows == ((2,),)
        grouped = plan(group_by=["title"], aggregate=[_COUNT])
        assert run(grouped, user=root).rows == (("a", 1), ("b", 1))


def test_a_scope_that_is_no_queryset_of_the_model_is_an_error(root: User) -> None:
    for wrong in (None, [], Tag.objects.all()):
        with (
            changed("testapp.Survey", visible_to=lambda rows, user, wrong=wrong: wrong),
            pytest.raises(ConfigurationError, match=r"testapp\.Survey returned no queryset"),
        ):
            run(plan(), user=root)


def test_a_composite_key_takes_a_scope_that_is_wrapped(root: User) -> None:
    CompositeThing.objects.create(region="x", number=1, title="a")
    CompositeThing.objects.create(region="y", number=2, title="b")
    raw = {"kind": "query", "model": "testapp.CompositeThing", "fields": ["region"]}
    assert titles(raw, root) == ["x"]


def test_plans_made_by_hand_are_refused_and_do_not_crash(root: User) -> None:
    ring: list[Any] = []
    ring.append(ring)
    filters = (QueryFilter(path="title", value=ring),)
    figure = QueryAggregate(function="count", path=None, alias="n")  # type: ignore[arg-type]
    for parts in (
        {"filters": 5}, {"filters": filters}, {"filters": ("title",)}, {"order_by": ("title",)},
        {"fields": 1}, {"aggregates": (figure,)}, {"fields": ("place__name",)},
        {"limit": True}, {"kind": "exec"},
    ):  # fmt: skip
        with pytest.raises(DangerousQuery):
            run(QueryPlan(**{"model": "testapp.Survey", **parts}), user=root)
    lookalike = SimpleNamespace(kind="query", model="testapp.Survey")
    subclass = type("Sly", (dict,), {})(plan(fields=["title"]))
    for raw in (lookalike, subclass, None, [], "query"):
        with pytest.raises(DangerousQuery):
            run(raw, user=root)  # type: ignore[arg-type]


def test_a_model_without_fields_is_only_counted(root: User) -> None:
    for fields in ((), "username_password"):
        with changed("auth.User", fields=fields):
            people = {"kind": "query", "model": "auth.User"}
            with pytest.raises(DangerousQuery, match="no fields"):
                run(people, user=root)
            assert run({**people, "aggregate": [_COUNT]}, user=root).rows == ((1,),)
