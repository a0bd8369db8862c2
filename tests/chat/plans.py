"""Plans made at random over the declarations of conftest.py, valid ones and spoilt ones."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Avg, Count, F, Max, Min, Q, Sum
from hypothesis import strategies as st

from tests.testapp.models import Child, Place

WORDS = ["Parang", "Upi", "Jolo", "Secret", "Mine", "Sulu", "Maguindanao", "", "a", "%", "_", "'"]
_TEXT = st.one_of(
    st.sampled_from(WORDS),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8),
)
TEXTS = ("exact", "iexact", "contains", "icontains", "startswith", "istartswith", "endswith",
         "iendswith")  # fmt: skip
TEXT_PATHS = ("name", "province", "owner.username", "owner.first_name")
PATHS = (*TEXT_PATHS, "owner.is_active", "owner.date_joined")
#: Columns that are declared nowhere, and that no scope of conftest.py reads.
UNDECLARED = ("password", "email", "is_superuser", "is_staff", "last_login", "last_name")
DATES = ["owner.date_joined"]
FIGURES: dict[str, Any] = {"count": Count, "min": Min, "max": Max, "sum": Sum, "avg": Avg}


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    path = draw(st.sampled_from(PATHS))
    lookup, value = "isnull", draw(st.booleans())
    if draw(st.integers(0, 4)):
        if path in TEXT_PATHS:
            lookup, value = draw(st.sampled_from(TEXTS)), draw(_TEXT)
            if not draw(st.integers(0, 3)):
                lookup, value = "in", draw(st.lists(_TEXT, min_size=1, max_size=4))
        elif path == "owner.is_active":
            lookup, value = "exact", draw(st.booleans())
        else:
            years = st.integers(2000, 2030)
            lookup = draw(st.sampled_from(["year", "month", "lt", "gte"]))
            value = draw({"year": years, "month": st.integers(1, 12)}.get(lookup, years))
            if lookup in ("lt", "gte"):
                value = f"{value}-01-01T00:00:00+00:00"
    return {"path": path, "lookup": lookup, "value": value, "negate": draw(st.booleans())}


@st.composite
def valid_plans(draw: st.DrawFn) -> dict[str, Any]:
    plan: dict[str, Any] = {
        "kind": "query",
        "model": "testapp.Place",
        "filters": draw(st.lists(conditions(), max_size=3)),
        "limit": draw(st.integers(1, 50)),
    }
    paths = st.lists(st.sampled_from(PATHS), min_size=1, max_size=3, unique=True)
    shape = draw(st.sampled_from(["rows", "figures", "groups"]))
    if shape != "rows":
        functions = draw(st.lists(st.sampled_from(["count", "min", "max"]), min_size=1, max_size=3))
        plan["aggregate"] = [
            {
                "function": function,
                "path": draw(st.sampled_from(["", *PATHS] if function == "count" else DATES)),
                "alias": f"figure_{at}",
            }
            for at, function in enumerate(functions)
        ]  # fmt: skip
    if shape == "groups":
        plan["group_by"] = draw(paths)
        names = [*plan["group_by"], *(each["alias"] for each in plan["aggregate"])]
    elif shape == "rows":
        plan["fields"] = draw(paths)
        names = list(PATHS)
    else:
        return plan
    order = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    plan["order_by"] = [f"-{name}" if draw(st.booleans()) else name for name in order]
    return plan


def _set(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def spoil(plan: dict[str, Any]) -> None:
        plan[key] = value

    return spoil


def _filter(**parts: Any) -> Callable[[dict[str, Any]], None]:
    def spoil(plan: dict[str, Any]) -> None:
        plan["filters"] = [*plan["filters"], {"path": "name", "value": "x", **parts}]

    return spoil


HIDDEN = ("is_hidden", "owner", "owner_id", "pk", "id", "owner.password", "owner.email",
          "owner.is_superuser", "owner.groups.name", "tags.name", "owner__username", "nothing",
          "owner.places.name",
          "NAME", " name", "name\u200b", "child.population", "_state")  # fmt: skip
#: Each makes a plan one that must be refused, whatever it was.
SPOILERS: list[Callable[[dict[str, Any]], None]] = [
    *(_set("fields", [path]) for path in HIDDEN),
    *(_set("group_by", [path]) for path in HIDDEN),
    *(_set("order_by", [path]) for path in HIDDEN),
    *(_filter(path=path) for path in HIDDEN),
    *(_set("aggregate", [{"function": "count", "path": path, "alias": "n"}]) for path in HIDDEN),
    *(_filter(lookup=each) for each in ("regex", "iregex", "search", "gt", "exact__in", "len", 1)),
    *(_filter(value=each) for each in (None, 1, ["x"], {}, "\x00", "\ud800", "x" * 201)),
    *(_filter(lookup="in", value=each) for each in ([], "x", ["x"] * 101, [1], [["x"]])),
    *(_filter(**{each: 1}) for each in ("negate", "_negated", "connector", "field", "kwargs")),
    *(_set("model", each) for each in ("auth.Group", "testapp.Tag", "sessions.Session", "place")),
    *(_set("limit", each) for each in (0, -1, 51, True, 1.5, "5", None, 10**9)),
    *(_set(each, [1]) for each in ("extra", "select", "where", "using", "_connector", "having")),
    _set("kind", "exec"),
    _set("filters", "name = 'x'"),
    _set("aggregate", [{"function": "raw", "alias": "n"}]),
    _set("aggregate", [{"function": "count", "alias": "password"}]),
    _set("aggregate", [{"function": "count", "alias": "a b"}]),
    _set("aggregate", [{"function": "sum", "path": "name", "alias": "n"}]),
]


@st.composite
def spoilt_plans(draw: st.DrawFn) -> dict[str, Any]:
    plan = copy.deepcopy(draw(valid_plans()))
    draw(st.sampled_from(SPOILERS))(plan)
    return plan


def by_hand(plan: dict[str, Any], user: User) -> list[tuple[Any, ...]]:
    """Return the rows of a valid plan, by Django's ORM as one writes it by hand.

    The owner who is hidden is taken away first: answers must be as if there were none.
    """
    with transaction.atomic():
        Place.objects.filter(owner__username="ghost").update(owner=None)
        rows = _by_hand(plan, Place.objects.filter(Q(is_hidden=False) | Q(owner=user)))
        transaction.set_rollback(True)
    return rows


def _by_hand(plan: dict[str, Any], rows: Any) -> list[tuple[Any, ...]]:
    order = [(name.lstrip("-"), name[0] == "-") for name in plan.get("order_by", ())]
    for each in plan["filters"]:
        value = each["value"]
        if each["lookup"] in ("lt", "gte"):
            value = datetime.datetime.fromisoformat(value)
        condition = {f"{_orm(each['path'])}__{each['lookup']}": value}
        rows = rows.filter(~Q(**condition)) if each["negate"] else rows.filter(**condition)
    figures = {
        each["alias"]: FIGURES[each["function"]](_orm(each["path"]) or "*")
        for each in plan.get("aggregate", ())
    }
    if figures and not plan.get("group_by"):
        found = rows.aggregate(**figures)
        return [tuple(found[name] for name in figures)]
    shown = [_orm(path) for path in plan.get("group_by") or plan["fields"]]
    ordering = [_ordering(name, descends) for name, descends in order]
    ordering += [
        _ordering(n, False)
        for n in (plan.get("group_by") or plan["fields"])
        if n not in dict(order)
    ]
    if figures:
        rows = rows.values(*shown).annotate(**figures)
    return list(rows.order_by(*ordering).values_list(*shown, *figures)[: plan["limit"]])


def _orm(path: str) -> str:
    return path.replace(".", "__")


def _ordering(name: str, descends: bool) -> Any:
    column = F(_orm(name))
    return column.desc(nulls_last=True) if descends else column.asc(nulls_last=True)


def make_places(asker: User) -> None:
    """Store rows of every kind: seen, hidden, one's own, those of an owner who is hidden."""
    ghost = User.objects.create_user("ghost", first_name="Hidden")
    other = User.objects.create_user("other", first_name="Upi")
    made = [
        ("Parang", "Maguindanao", False, None), ("Upi", "Maguindanao", False, asker),
        ("Jolo", "Sulu", False, ghost), ("Secret", "Sulu", True, ghost),
        ("Mine", "Sulu", True, asker),
        ("a", "", False, other), ("%", "_", False, other), ("'", "Sulu", True, other),
    ]  # fmt: skip
    for name, province, is_hidden, owner in made:
        Place.objects.create(name=name, province=province, is_hidden=is_hidden, owner=owner)
    Child.objects.create(name="Child", province="Sulu", population=7, owner=other)
