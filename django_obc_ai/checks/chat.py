"""E009, E018, E019 and W016: what may be asked about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.checks import CheckMessage

from django_obc_ai.chat.declaration import AGGREGATES, ChatModel
from django_obc_ai.chat.fields import LOOKUPS, kind_of
from django_obc_ai.chat.paths import declared_field
from django_obc_ai.chat.registry import get_chat_models
from django_obc_ai.checks.messages import error, from_exception, warning
from django_obc_ai.conf import find_errors, suggest
from django_obc_ai.exceptions import ConfigurationError

_LISTS = ("fields", "relations", "aggregates", "default_fields", "synonyms")
_MAPPINGS = ("lookups", "field_synonyms")
_SECRET = re.compile(
    r"(?:^|_)(?:passw(?:or)?d|passphrase|tokens?|secrets?|salt|hash|otp|pin|cvv|"
    r"sessions?|cookies?|credentials?|api_?key|private_?key|session_?key|key)(?:_|$)",
    re.IGNORECASE,
)


def check_chat(**_: Any) -> list[CheckMessage]:
    """Report declarations of chat that name what does not exist, or what looks like a secret."""
    if find_errors():
        return []
    try:
        declared = get_chat_models()
    except ConfigurationError as exception:
        return [from_exception(exception)]
    return [message for each in declared.values() for message in _check(each, declared)]


def _check(declared: ChatModel, known: Mapping[str, ChatModel]) -> list[CheckMessage]:
    where = f"The chat declaration of {declared.label}"
    messages = []
    if type(declared).visible_to is ChatModel.visible_to:
        messages.append(
            error(
                "E009",
                f"{where} does not define visible_to(self, queryset, user).",
                "Return the rows the user may see; 'return queryset' makes all rows public.",
            )
        )
    shapes = _check_shapes(declared, where)
    names = [] if shapes else [*_check_fields(declared, where), *_check_relations(declared, known)]
    return [*messages, *shapes, *names, *_check_limits(declared, where)]


def _check_shapes(declared: ChatModel, where: str) -> list[CheckMessage]:
    """A text in the place of a list means each of its letters."""
    lists = [(name, getattr(declared, name)) for name in _LISTS]
    for name in _MAPPINGS:
        value = getattr(declared, name)
        if not isinstance(value, Mapping):
            return [error("E018", f"{where}: {name} is no dictionary.", "Name a list by field.")]
        lists += [(f"{name}[{key!r}]", each) for key, each in value.items()]
    return [
        error("E018", f"{where}: {name} is no list of names.", "Write a list: ['name'].")
        for name, value in lists
        if isinstance(value, str)
        or not isinstance(value, Iterable)
        or not all(isinstance(each, str) for each in value)
    ]


def _check_fields(declared: ChatModel, where: str) -> list[CheckMessage]:
    usable = [each.name for each in declared.model._meta.get_fields() if kind_of(each)]
    messages = []
    for name in declared.fields:
        field = declared_field(declared, name)
        if field is None or kind_of(field) is None:
            problem = "which chat cannot handle" if field is not None else "which the model lacks"
            messages.append(
                error("E018", f"{where}: fields names {name!r}, {problem}.", suggest(name, usable))
            )
        elif _SECRET.search(name):
            messages.append(
                warning(
                    "W016",
                    f"{where} lets people ask about {name!r}, which looks like a secret.",
                    "Take it out of fields, unless everybody who sees the rows may know it.",
                )
            )
    wanted = [("default_fields", name, declared.fields) for name in declared.default_fields]
    wanted += [("lookups", name, declared.fields) for name in declared.lookups]
    names = [*declared.fields, *declared.relations]
    wanted += [("field_synonyms", name, names) for name in declared.field_synonyms]
    wanted += [("aggregates", name, AGGREGATES) for name in declared.aggregates]
    for name, lookups in declared.lookups.items():
        field = declared_field(declared, name)
        offered = LOOKUPS.get(kind_of(field), ()) if field is not None else lookups  # type: ignore[arg-type]  # None is no key
        wanted += [(f"lookups[{name!r}]", each, offered) for each in lookups]
    return messages + [
        error("E018", f"{where}: {place} names {name!r}, which is none.", suggest(name, valid))
        for place, name, valid in wanted
        if name not in valid
    ]


def _check_relations(declared: ChatModel, known: Mapping[str, ChatModel]) -> list[CheckMessage]:
    where = f"The chat declaration of {declared.label}: relations names"
    following: dict[str, str] = {}
    for field in declared.model._meta.get_fields():
        if field.concrete and (field.many_to_one or field.one_to_one):
            related: Any = field.related_model
            following[field.name] = f"{related._meta.app_label}.{related._meta.object_name}"
    messages = []
    for name in declared.relations:
        if name not in following:
            message = f"{where} {name!r}, which is no relation to one row."
            messages.append(error("E018", message, suggest(name, following)))
        elif following[name] not in known:
            message = f"{where} {name!r}, but {following[name]} may not be asked about."
            messages.append(error("E018", message, "Declare that model too, or take it out."))
    return messages


def _check_limits(declared: ChatModel, where: str) -> list[CheckMessage]:
    rows, seconds, size = declared.max_rows, declared.max_seconds, declared.min_group_size
    faults = [
        ("max_rows", type(rows) is not int or rows < 1, "a whole number above 0"),
        ("max_seconds", type(seconds) not in (int, float) or not 0 < seconds < 3600,
         "a number above 0 and below 3600"),
        ("min_group_size", type(size) is not int or size < 0, "a whole number, at least 0"),
        ("needs_permission", type(declared.needs_permission) is not bool, "True or False"),
    ]  # fmt: skip
    return [
        error("E019", f"{where}: {name} is not {wanted}.", f"Write {wanted}.")
        for name, is_wrong, wanted in faults
        if is_wrong
    ]
