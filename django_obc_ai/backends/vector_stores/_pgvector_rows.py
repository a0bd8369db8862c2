"""Which rows of a generation's table count, as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models

_INTEGERS = (
    models.AutoField,
    models.BigAutoField,
    models.SmallAutoField,
    models.IntegerField,
    models.BigIntegerField,
    models.SmallIntegerField,
    models.PositiveIntegerField,
    models.PositiveBigIntegerField,
    models.PositiveSmallIntegerField,
)
_TEXTS = (models.CharField, models.SlugField, models.TextField, models.EmailField, models.URLField)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What comes behind WHERE, and its parameters."""

    sql: str = "true"
    params: Sequence[Any] = field(default=())


ALL = Condition()


def column_type(model: type[models.Model]) -> str:
    """Return the type that a model's keys have in a vector table: "bigint", "uuid" or "text"."""
    return _comparable(model) or "text"


def _comparable(model: type[models.Model]) -> str:
    """Return the type in which the column itself compares with the key; "" if it does not.

    Fields of other classes, derived ones too, may write a key in a form of their own.
    """
    found: Any = model._meta.pk
    while found.is_relation and getattr(found, "target_field", None) is not None:
        found = found.target_field
    if type(found) in _INTEGERS:
        return "bigint"
    if type(found) is models.UUIDField:
        return "uuid"
    is_text = type(found) in _TEXTS and not found.db_collation
    return "text" if is_text else ""


def of_ids(ids: Sequence[int]) -> Condition:
    """Return the condition for chunks with these ids."""
    return Condition(sql="v.chunk_id = ANY(%s)", params=[ids])


def of_rows(alias: str, rows: models.QuerySet[Any]) -> Condition | None:
    """Return the condition for chunks of a queryset's rows; None if there are no such rows.

    The queryset becomes a subquery with its own parameters, where its key is a column that
    compares with the table's. Any other key, such as a composite one, is read first.
    """
    query = rows.query.chain()
    query.select_for_update = False
    if not _comparable(rows.model) or query.combinator:
        plain = rows if query.combinator else rows.prefetch_related(None)
        pks = plain.values_list("pk", flat=True)
        keys = [key_text(rows.model, pk) for pk in pks]
        kind = column_type(rows.model)
        cast = {
            "bigint": "v.object_key = ANY(%s::bigint[])",
            "uuid": "v.object_key = ANY(%s::uuid[])",
        }
        return Condition(sql=cast.get(kind, "v.object_key = ANY(%s)"), params=[keys])
    # What Django does for pk__in=queryset: an order stays where it decides what is in a slice.
    query.subquery = True
    query.clear_ordering(clear_default=True)
    query.clear_select_clause()
    query.add_fields(["pk"])
    try:
        sql, params = query.get_compiler(connection=connections[alias]).as_sql()
    except EmptyResultSet:
        return None
    return Condition(sql=f"v.object_key IN ({sql})", params=list(params))


def key_text(model: type[models.Model], pk: Any) -> str:
    """Return a primary key as chunks hold it; the same as `VectorIndex.key_of_pk`."""
    found: Any = model._meta.pk
    bare = SimpleNamespace(**{found.attname: found.to_python(pk)})
    text: str = found.value_to_string(bare)
    return text
