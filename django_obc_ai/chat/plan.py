"""Plans as data: what a model is shown and asked for, what is stored, what people read."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from django_obc_ai.chat.declaration import AGGREGATES, ChatModel
from django_obc_ai.chat.fields import LOOKUPS
from django_obc_ai.chat.paths import FieldPath, allowed_models, related, resolve
from django_obc_ai.exceptions import DangerousQuery
from django_obc_ai.types.chat import PLAN_KINDS, QueryFilter, QueryPlan

_MAX_CHOICES = 30


def as_mapping(plan: QueryPlan) -> dict[str, Any]:
    """Return a plan as plain JSON data, which `guard.check_plan` takes."""
    found: dict[str, Any] = {"kind": plan.kind}
    if plan.kind in ("query", "both"):
        found |= {
            "model": plan.model,
            "fields": list(plan.fields),
            "filters": [
                {
                    "path": each.path,
                    "lookup": each.lookup,
                    "value": _plain(each.value),
                    "negate": each.negate,
                }
                for each in plan.filters
            ],
            "group_by": list(plan.group_by),
            "aggregate": [
                {"function": each.function, "path": each.path, "alias": each.alias}
                for each in plan.aggregates
            ],
            "order_by": [f"-{name}" if descends else name for name, descends in plan.order_by],
            "limit": plan.limit,
        }
    if plan.kind in ("search", "both"):
        found |= {"search": plan.search, "index": plan.index}
    if plan.kind == "refuse":
        found["reason"] = plan.reason
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value) if isinstance(value, UUID) else value


def plan_schema(user: Any) -> dict[str, Any]:
    """Return the JSON Schema of a plan, for structured output; names only what a user may ask.

    Values are text, number, boolean or a list of them; dates are text.
    """
    text, whole = {"type": "string"}, {"type": "integer"}
    texts = {"type": "array", "items": text}
    lookups = sorted({each for kind in LOOKUPS.values() for each in kind})
    scalar = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]
    condition = {
        "type": "object",
        "properties": {
            "path": text,
            "lookup": {"type": "string", "enum": lookups},
            "value": {"anyOf": [*scalar, {"type": "array", "items": {"anyOf": scalar}}]},
            "negate": {"type": "boolean"},
        },
        "required": ["path", "lookup", "value"],
    }
    figure = {
        "type": "object",
        "properties": {
            "function": {"type": "string", "enum": list(AGGREGATES)},
            "path": text,
            "alias": text,
        },
        "required": ["function", "alias"],
    }
    properties: dict[str, Any] = {
        "kind": {"type": "string", "enum": list(PLAN_KINDS)},
        "fields": texts,
        "filters": {"type": "array", "items": condition},
        "group_by": texts,
        "aggregate": {"type": "array", "items": figure},
        "order_by": texts,
        "limit": whole,
        "search": text,
        "index": text,
        "reason": text,
    }
    if labels := list(allowed_models(user)):
        properties["model"] = {"type": "string", "enum": labels}
    return {"type": "object", "properties": properties, "required": ["kind"]}


def describe_models(user: Any, indexes: Sequence[str] = ()) -> str:
    """Return what a user may ask about, for a model to read; nothing else is named.

    Args:
        user: Who asks.
        indexes: Names of the indexes that may be searched.
    """
    allowed = allowed_models(user)
    parts = [_describe(declared, allowed) for declared in allowed.values()]
    if indexes:
        parts.append(f"Indexes to search: {', '.join(indexes)}.")
    return "\n\n".join(parts)


def _describe(declared: ChatModel, allowed: dict[str, ChatModel]) -> str:
    called = [str(declared.model._meta.verbose_name_plural), *_also_called(declared.synonyms)]
    lines = [f"{declared.label} ({'; '.join(called)}):"]
    for name in declared.fields:
        try:
            path = resolve(declared, name, allowed, "fields")
        except DangerousQuery:
            continue
        lines.append(f"- {name}: {_describe_field(path)}")
    for name in declared.relations:
        following = related(declared, name, allowed)
        if following is not None:
            lines.append(f"- {name}. leads to {following.label}: write {name}.FIELD")
    lines.append(f"At most {declared.max_rows} rows.")
    return "\n".join(lines)


def _also_called(synonyms: Iterable[str]) -> list[str]:
    words = ", ".join(map(str, synonyms))
    return [f"also called {words}"] if words else []


def _describe_field(path: FieldPath) -> str:
    parts = [path.kind, *_also_called(path.owner.field_synonyms.get(path.field.name, ()))]
    if isinstance(path.owner.fields, Mapping) and path.owner.fields[path.field.name]:
        parts.append(str(path.owner.fields[path.field.name]))
    elif path.field.help_text:
        parts.append(str(path.field.help_text))
    if path.kind == "choice":
        names = [str(label) for _, label in path.field.flatchoices][:_MAX_CHOICES]
        parts.append(f"one of {', '.join(names)}")
    parts.append(f"lookups {', '.join(path.lookups)}")
    return "; ".join(part.rstrip(".") for part in parts)


_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "exact": "is", "iexact": "is", "contains": "contains", "icontains": "contains",
        "startswith": "begins with", "istartswith": "begins with", "endswith": "ends with",
        "iendswith": "ends with", "in": "is one of", "isnull": "is empty", "lt": "is below",
        "lte": "is at most", "gt": "is above", "gte": "is at least", "range": "is between",
        "year": "is in the year", "month": "is in month", "not": "not:", "where": "where",
        "by": "for each", "first": "ordered by", "desc": "descending", "most": "at most {} rows",
        "and": "and", "search": "search for “{}”", "count": "number", "sum": "sum",
        "avg": "average", "min": "lowest", "max": "highest", "of": "of",
    },
    "tl": {
        "exact": "ay", "iexact": "ay", "contains": "may", "icontains": "may",
        "startswith": "nagsisimula sa", "istartswith": "nagsisimula sa",
        "endswith": "nagtatapos sa", "iendswith": "nagtatapos sa", "in": "ay isa sa",
        "isnull": "ay walang laman", "lt": "ay mas mababa sa", "lte": "ay hindi hihigit sa",
        "gt": "ay higit sa", "gte": "ay hindi bababa sa", "range": "ay nasa pagitan ng",
        "year": "ay sa taong", "month": "ay sa buwang", "not": "hindi:", "where": "kung saan",
        "by": "bawat", "first": "ayon sa", "desc": "pababa", "most": "hanggang {} hanay",
        "and": "at", "search": "paghahanap ng “{}”", "count": "bilang", "sum": "kabuuan",
        "avg": "karaniwan", "min": "pinakamababa", "max": "pinakamataas", "of": "ng",
    },
}  # fmt: skip


def describe(plan: QueryPlan, language: str = "en") -> str:
    """Return a plan in words, for the line that says how rows were found.

    Args:
        plan: A checked plan.
        language: "en" or "tl"; others are English.
    """
    words = _WORDS.get(language, _WORDS["en"])
    parts = []
    if plan.model:
        parts.append(_describe_query(plan, words))
    if plan.search:
        parts.append(words["search"].format(plan.search))
    return f" {words['and']} ".join(parts)


def _describe_query(plan: QueryPlan, words: dict[str, str]) -> str:
    name = plan.model.rpartition(".")[2]
    figures = [
        f"{words[each.function]} {words['of']} {each.path or name}" for each in plan.aggregates
    ]
    text = f"{name}: {', '.join(figures or plan.fields)}"
    if plan.group_by:
        text += f", {words['by']} {', '.join(plan.group_by)}"
    if plan.filters:
        conditions = f" {words['and']} ".join(_condition(each, words) for each in plan.filters)
        text += f", {words['where']} {conditions}"
    if plan.order_by:
        orders = [f"{path} {words['desc']}" if down else path for path, down in plan.order_by]
        text += f", {words['first']} {', '.join(orders)}"
    return f"{text} ({words['most'].format(plan.limit)})" if not _is_figure(plan) else text


def _is_figure(plan: QueryPlan) -> bool:
    return bool(plan.aggregates) and not plan.group_by


def _condition(each: QueryFilter, words: dict[str, str]) -> str:
    value = _plain(each.value)
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = f"{each.path} {words[each.lookup]}"
    if each.lookup == "isnull":
        return text if each.value != each.negate else f"{words['not']} {text}"
    return f"{words['not']} {text} {shown}" if each.negate else f"{text} {shown}"
