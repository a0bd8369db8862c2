"""From the names in a plan to declared fields, for one user; everything else is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models.constants import LOOKUP_SEP

from django_obc_ai.chat.declaration import ChatModel
from django_obc_ai.chat.fields import LOOKUPS, Kind, kind_of
from django_obc_ai.chat.registry import get_chat_models
from django_obc_ai.exceptions import DangerousQuery

MAX_RELATIONS = 3  # one behind the other
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*", re.ASCII)
_MAX_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPath:
    """A declared field, and the way to it.

    Attributes:
        path: As plans write it, "municipality.name".
        hops: Relations on the way, each with the declaration that it leads to.
        owner: The declaration that the field stands in.
        field: The model's field.
        kind: See `fields.kind_of`.
    """

    path: str
    hops: tuple[tuple[str, ChatModel], ...]
    owner: ChatModel
    field: Any
    kind: Kind

    @property
    def orm(self) -> str:
        """Return the path as Django's ORM writes it."""
        return self.path.replace(".", LOOKUP_SEP)

    @property
    def lookups(self) -> tuple[str, ...]:
        """Return the lookups that are offered."""
        of_kind, declared = LOOKUPS[self.kind], self.owner.lookups
        wanted = names_of(declared.get(self.field.name, of_kind))
        return tuple(each for each in of_kind if each in wanted)

    @property
    def label(self) -> str:
        """Return what people call it: "Municipality", or "Municipality population"."""
        own = str(self.field.verbose_name)
        if not self.hops:
            return own[:1].upper() + own[1:]
        name, declared = self.hops[-1]
        relation = str(declared.model._meta.verbose_name or name)
        text = relation if self.field.name in ("name", "title") else f"{relation} {own}"
        return text[:1].upper() + text[1:]


def allowed_models(user: Any) -> dict[str, ChatModel]:
    """Return what a user may ask about, by label.

    All declarations are asked for, whatever a plan names, so that a hidden name costs as many
    statements as an absent one.
    """
    return {
        label: declared
        for label, declared in sorted(get_chat_models().items())
        if _may_ask(declared, user)
    }


def _may_ask(declared: ChatModel, user: Any) -> bool:
    if not declared.needs_permission:
        return True
    meta = declared.model._meta
    has_perm = getattr(user, "has_perm", None)
    return bool(has_perm is not None and has_perm(f"{meta.app_label}.view_{meta.model_name}"))


def is_name(value: Any) -> bool:
    """Return whether a value is an exact ASCII identifier without a double underscore."""
    return type(value) is str and len(value) <= _MAX_NAME and bool(_NAME.fullmatch(value))


def resolve(root: ChatModel, path: Any, allowed: dict[str, ChatModel], where: str) -> FieldPath:
    """Return the field that a path names.

    Raises:
        DangerousQuery: Hidden, absent or misspelt; the text is the same for all.
    """
    names = path.split(".") if type(path) is str and len(path) <= 4 * _MAX_NAME else [""]
    if len(names) > MAX_RELATIONS + 1 or not all(is_name(each) for each in names):
        raise refusal(where)
    current, hops = root, []
    for name in names[:-1]:
        following = related(current, name, allowed)
        if following is None:
            raise refusal(where)
        hops.append((name, following))
        current = following
    field = declared_field(current, names[-1])
    kind = None if field is None else kind_of(field)
    if field is None or kind is None:
        raise refusal(where)
    return FieldPath(path=path, hops=tuple(hops), owner=current, field=field, kind=kind)


def refusal(where: str) -> DangerousQuery:
    """Return the one answer to every name that cannot be asked about."""
    return DangerousQuery(f"{where} names nothing that can be asked about.")


def names_of(declared: Iterable[str]) -> Iterable[str]:
    """Return declared names; none if a text stands for a list, whose parts would all be in it."""
    return () if isinstance(declared, str) else declared


def declared_field(declared: ChatModel, name: str) -> Any:
    """Return a declared field of the model itself; None if there is none."""
    if name not in names_of(declared.fields):
        return None
    try:
        field = declared.model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return field if field.name == name else None


def related(declared: ChatModel, name: str, allowed: dict[str, ChatModel]) -> ChatModel | None:
    """Return the declaration that a relation leads to, if it is declared, to one row, allowed."""
    if name not in names_of(declared.relations):
        return None
    try:
        field: Any = declared.model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    if not (field.is_relation and field.concrete and (field.many_to_one or field.one_to_one)):
        return None
    model = field.related_model
    if not hasattr(model, "_meta"):
        return None
    return allowed.get(f"{model._meta.app_label}.{model._meta.object_name}")
