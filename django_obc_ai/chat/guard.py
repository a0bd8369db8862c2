"""What may be asked: messages before a model sees them, plans before a database does.

A plan is data in a fixed form. Each name in it must be declared and allowed to the user, each
value must have the type of its field; anything else is refused with a reason, and nothing is
dropped, since a filter that vanishes returns rows that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django_obc_ai.chat.declaration import AGGREGATES, ChatModel
from django_obc_ai.chat.fields import text_of, typed
from django_obc_ai.chat.messages import check_message
from django_obc_ai.chat.paths import FieldPath, allowed_models, is_name, names_of, refusal, resolve
from django_obc_ai.exceptions import DangerousQuery
from django_obc_ai.types.chat import (
    PLAN_KINDS,
    QueryAggregate,
    QueryFilter,
    QueryPlan,
)

__all__ = ["check_message", "check_plan"]

_QUERY_KEYS = ("model", "fields", "filters", "group_by", "aggregate", "order_by", "limit")
#: The keys of a plan, by its kind.
_KEYS: dict[str, tuple[str, ...]] = {
    "query": _QUERY_KEYS,
    "search": ("search", "index"),
    "both": (*_QUERY_KEYS, "search", "index"),
    "answer": (),
    "refuse": ("reason",),
}
#: Kinds of fields that a figure can be made of; all where it is not named.
_FITTING: dict[str, tuple[str, ...]] = {
    "sum": ("number",),
    "avg": ("number",),
    "min": ("number", "date", "datetime"),
    "max": ("number", "date", "datetime"),
}
_MOST = {"fields": 20, "filters": 20, "group_by": 4, "aggregate": 8, "order_by": 6}
_MAX_JOINS = 6
_MAX_SEARCH = 500
#: Aliases that look like what they cannot be, whether the project has such columns or not.
_SENSITIVE = frozenset(
    ("id", "pk", "password", "token", "secret", "session", "session_key", "is_superuser",
     "is_staff", "email", "api_key", "user", "permission", "permissions")
)  # fmt: skip


def check_plan(plan: Mapping[str, Any], *, user: Any) -> QueryPlan:
    """Return a plan that may be run for a user.

    Args:
        plan: ``{"kind": "query", "model": "app.Model", "fields": […], "filters": [{"path",
            "lookup", "value", "negate"}], "group_by": […], "aggregate": [{"function", "path",
            "alias"}], "order_by": ["path", "-path"], "limit": n}``; of another kind "search" and
            "index", or "reason". Keys that may be empty may be left out.
        user: Who asks; a user, an AnonymousUser or None.

    Raises:
        DangerousQuery: It asks for something else than what is declared and allowed.
    """
    allowed = allowed_models(user)
    given: object = plan  # whatever its type says: it comes from a model
    if not isinstance(given, Mapping) or (isinstance(given, dict) and type(given) is not dict):
        raise DangerousQuery("The plan is no plain mapping.")
    entry = {key: value for key, value in plan.items() if type(key) is str}
    if len(entry) != len(plan):
        raise DangerousQuery("The plan has a key that is no text.")
    kind = entry.pop("kind", None)
    if type(kind) is not str or kind not in PLAN_KINDS:
        raise DangerousQuery("The plan has no kind, or an unknown one.")
    _only(entry, _KEYS[kind], "The plan")
    if kind == "answer":
        return QueryPlan(kind="answer")
    if kind == "refuse":
        return QueryPlan(kind="refuse", reason=text_of(entry.get("reason", ""), "reason", 500))
    found: dict[str, Any] = {"kind": kind}  # Any: fields of several types
    if kind in ("search", "both"):
        found["search"], found["index"] = _search(entry)
    if kind in ("query", "both"):
        found |= _query(entry, allowed)
    return QueryPlan(**found)


def _only(entry: Mapping[str, Any], valid: tuple[str, ...], where: str) -> None:
    for key in entry:
        if key not in valid:
            raise DangerousQuery(f"{where} has an unknown key.")


def _search(entry: Mapping[str, Any]) -> tuple[str, str]:
    words = text_of(entry.get("search"), "search", _MAX_SEARCH).strip()
    if not words:
        raise DangerousQuery("search is empty.")
    index = text_of(entry.get("index", ""), "index")
    if index and not is_name(index):
        raise refusal("index")
    return words, index


def _query(entry: Mapping[str, Any], allowed: dict[str, ChatModel]) -> dict[str, Any]:
    label = entry.get("model")
    root = allowed.get(label) if type(label) is str else None
    if root is None:
        raise refusal("model")
    parts = {name: _list(entry, name) for name in _MOST}
    paths = {
        name: [resolve(root, each, allowed, f"{name}[{at}]") for at, each in enumerate(parts[name])]
        for name in ("fields", "group_by")
    }
    filters, used = _filters(root, parts["filters"], allowed)
    aggregates = _aggregates(root, parts["aggregate"], allowed, used)
    fields, groups = (_unique(paths[name], name) for name in ("fields", "group_by"))
    _check_shape(fields, groups, aggregates)
    order_by = _order(root, parts["order_by"], allowed, used, groups, aggregates)
    if not (fields or groups or aggregates):
        fields = _unique([resolve(root, each, allowed, "fields") for each in shown_of(root)], "")
    if not (fields or aggregates):  # a query for no column would give all
        raise DangerousQuery("Of this model there are no fields to show; ask for figures.")
    shown = [resolve(root, each, allowed, "fields") for each in fields]
    if not aggregates and least_group(root, [*shown, *used]) > 0:
        raise DangerousQuery("Of these models, figures are given and no single rows.")
    hops = {
        (*(name for name, _ in each.hops[: depth + 1]),)
        for each in [*paths["fields"], *paths["group_by"], *used]
        for depth in range(len(each.hops))
    }
    if len(hops) > _MAX_JOINS:
        raise DangerousQuery(f"The plan follows more than {_MAX_JOINS} relations.")
    return {
        "model": label,
        "fields": fields,
        "filters": filters,
        "group_by": groups,
        "aggregates": aggregates,
        "order_by": order_by,
        "limit": _limit(root, entry),
    }


def least_group(root: ChatModel, paths: Iterable[FieldPath]) -> int:
    """Return how many rows a group must have, by the strictest model that has a part in it."""
    following = [declared for path in paths for _, declared in path.hops]
    return max(each.min_group_size for each in [root, *following])


def shown_of(root: ChatModel) -> tuple[str, ...]:
    """Return the columns where a plan names none."""
    return tuple(names_of(root.default_fields)) or tuple(names_of(root.fields))[:4]


def _list(entry: Mapping[str, Any], name: str) -> list[Any]:
    value = entry.get(name, [])
    if type(value) not in (list, tuple):
        raise DangerousQuery(f"{name} is no list.")
    if len(value) > _MOST[name]:
        raise DangerousQuery(f"{name} has more than {_MOST[name]} entries.")
    return list(value)


def _mapping(value: Any, valid: tuple[str, ...], where: str) -> dict[str, Any]:
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise DangerousQuery(f"{where} is no mapping.")
    _only(value, valid, where)
    return dict(value)


def _filters(
    root: ChatModel, entries: list[Any], allowed: dict[str, ChatModel]
) -> tuple[tuple[QueryFilter, ...], list[FieldPath]]:
    found, used = [], []
    for at, each in enumerate(entries):
        where = f"filters[{at}]"
        entry = _mapping(each, ("path", "lookup", "value", "negate"), where)
        path = resolve(root, entry.get("path"), allowed, f"{where}.path")
        lookup = entry.get("lookup", "exact")
        if type(lookup) is not str or lookup not in path.lookups:
            raise DangerousQuery(f"{where}.lookup is none that is offered for its field.")
        if "value" not in entry:
            raise DangerousQuery(f"{where} has no value.")
        negate = entry.get("negate", False)
        if type(negate) is not bool:
            raise DangerousQuery(f"{where}.negate is neither true nor false.")
        value = typed(path.field, lookup, entry["value"], f"{where}.value")
        used.append(path)
        found.append(QueryFilter(path=path.path, lookup=lookup, value=value, negate=negate))
    return tuple(found), used


def _aggregates(
    root: ChatModel, entries: list[Any], allowed: dict[str, ChatModel], used: list[FieldPath]
) -> tuple[QueryAggregate, ...]:
    taken = {each.name for each in root.model._meta.get_fields()} | _SENSITIVE
    taken |= {getattr(each, "attname", "") for each in root.model._meta.concrete_fields}
    found = []
    for at, each in enumerate(entries):
        where = f"aggregate[{at}]"
        entry = _mapping(each, ("function", "path", "alias"), where)
        function = entry.get("function")
        if type(function) is not str or function not in AGGREGATES:
            raise DangerousQuery(f"{where}.function is unknown.")
        path, owner = entry.get("path", ""), root
        if path == "" and type(path) is str:
            if function != "count":
                raise DangerousQuery(f"{where} has no path.")
        else:
            column = resolve(root, path, allowed, f"{where}.path")
            owner = column.owner
            if column.kind not in _FITTING.get(function, (column.kind,)):
                raise DangerousQuery(f"{where}: its field has no {function}.")
            used.append(column)
        if not (function in names_of(root.aggregates) and function in names_of(owner.aggregates)):
            raise DangerousQuery(f"{where}.function is not offered for this model.")
        alias = entry.get("alias", f"{function}_{at}")
        if type(alias) is not str or not is_name(alias) or alias in taken:
            raise DangerousQuery(f"{where}.alias is no free name.")
        taken.add(alias)
        found.append(QueryAggregate(function=function, path=path, alias=alias))
    return tuple(found)


def _unique(paths: list[FieldPath], where: str) -> tuple[str, ...]:
    names = tuple(each.path for each in paths)
    if len(set(names)) != len(names):
        raise DangerousQuery(f"{where} names a field twice.")
    return names


def _check_shape(
    fields: tuple[str, ...],
    groups: tuple[str, ...],
    aggregates: tuple[QueryAggregate, ...],
) -> None:
    if groups and not aggregates:
        raise DangerousQuery("group_by wants a figure in aggregate.")
    if aggregates and any(each not in groups for each in fields):
        raise DangerousQuery("fields beside figures must stand in group_by.")


def _order(
    root: ChatModel,
    entries: list[Any],
    allowed: dict[str, ChatModel],
    used: list[FieldPath],
    groups: tuple[str, ...],
    aggregates: tuple[QueryAggregate, ...],
) -> tuple[tuple[str, bool], ...]:
    aliases = [each.alias for each in aggregates]
    found: list[tuple[str, bool]] = []
    for at, each in enumerate(entries):
        where = f"order_by[{at}]"
        if type(each) is not str:
            raise refusal(where)
        name, descends = each.removeprefix("-"), each.startswith("-")
        if name not in aliases:
            path = resolve(root, name, allowed, where)
            if aggregates and name not in groups:
                raise DangerousQuery(f"{where} is neither a group nor a figure.")
            used.append(path)
        if name in [known for known, _ in found]:
            raise DangerousQuery(f"{where} names a field twice.")
        found.append((name, descends))
    if found and aggregates and not groups:
        raise DangerousQuery("order_by has nothing to order: there is one row of figures.")
    return tuple(found)


def _limit(root: ChatModel, entry: Mapping[str, Any]) -> int:
    limit = entry.get("limit", root.max_rows)
    if type(limit) is not int or not 1 <= limit <= root.max_rows:
        raise DangerousQuery(f"limit is no whole number from 1 to {root.max_rows}.")
    return limit
