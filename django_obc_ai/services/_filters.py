"""Filters of a search: what an index declares, combined by and, or and not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from django.core.exceptions import EmptyResultSet, FieldError, ValidationError
from django.db import NotSupportedError, models
from django.db.models import Q
from django.db.models.constants import LOOKUP_SEP

from django_obc_ai.conf import suggest
from django_obc_ai.exceptions import InvalidFilterError
from django_obc_ai.indexes import VectorIndex

#: Lookups that must all hold, by name, or a `Q` of such lookups.
Filters: TypeAlias = Mapping[str, Any] | Q
MAXIMUM_DEPTH = 10
MAXIMUM_LOOKUPS = 100
#: Values of one lookup, and characters of one of them.
MAXIMUM_VALUES = 1_000
MAXIMUM_LENGTH = 10_000
_UNFIT = (
    FieldError,
    ValidationError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    NotSupportedError,
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def filtered(
    index: VectorIndex, rows: models.QuerySet[Any], filters: Filters | None
) -> models.QuerySet[Any]:
    """Return the rows that pass filters.

    Raises:
        InvalidFilterError: A filter is not offered, is no plain lookup, or does not fit.
    """
    if filters is not None and not isinstance(filters, Mapping | Q):
        raise InvalidFilterError(
            f"The filters of the index {index.name!r} are a mapping or a Q, not"
            f" {type(filters).__name__}."
        )
    condition = filters if isinstance(filters, Q) else Q(*(filters or {}).items())
    lookups = dict.fromkeys(
        _checked(index, rows, lookup, value) for lookup, value in _leaves(index, condition)
    )
    try:
        found = rows.filter(condition)
        with suppress(EmptyResultSet):
            # Some lookups look at their value only when they become SQL.
            found.all().query.get_compiler(index.database).as_sql()
        return found
    except _UNFIT as error:
        raise InvalidFilterError(
            f"A filter of the index {index.name!r} has a lookup or value that does not fit:"
            f" {', '.join(sorted(lookups))}."
        ) from error


def _leaves(index: VectorIndex, condition: Q) -> Iterator[tuple[str, Any]]:
    """Yield the lookups of a condition; its size is bounded, and so is the SQL's.

    Raises:
        InvalidFilterError: It holds something else, or too much.
    """
    left: list[tuple[Any, int]] = [(condition, 1)]
    count = 0
    while left:
        each, depth = left.pop()
        if isinstance(each, Q):
            if depth > MAXIMUM_DEPTH:
                raise InvalidFilterError(
                    f"The filter of the index {index.name!r} is nested deeper than"
                    f" {MAXIMUM_DEPTH} levels. Write it flatter."
                )
            if each.connector not in (Q.AND, Q.OR):
                raise InvalidFilterError(
                    f"The filter of the index {index.name!r} combines lookups by"
                    f" {each.connector}. Use and, or and not."
                )
            left += [(child, depth + 1) for child in reversed(each.children)]
            continue
        is_lookup = isinstance(each, tuple) and len(each) == 2 and isinstance(each[0], str)
        if not is_lookup:
            raise InvalidFilterError(
                f"The filter of the index {index.name!r} holds {type(each).__name__}."
                " Give lookups of declared fields, such as Q(province=…)."
            )
        count += 1
        if count > MAXIMUM_LOOKUPS:
            raise InvalidFilterError(
                f"The filter of the index {index.name!r} has more than {MAXIMUM_LOOKUPS}"
                " lookups. Use __in for many values of one field."
            )
        yield each


def _checked(index: VectorIndex, rows: models.QuerySet[Any], lookup: str, value: Any) -> str:
    last = lookup.rsplit(LOOKUP_SEP, maxsplit=1)[-1]
    if last in ("regex", "iregex"):
        raise InvalidFilterError(
            f"The index {index.name!r} does not filter by regular expression: a pattern may"
            " take for ever. Use contains or startswith."
        )
    if _path_of(lookup, rows) not in index.filter_fields:
        raise InvalidFilterError(
            f"The index {index.name!r} offers no filter {lookup!r}."
            f" {suggest(lookup, index.filter_fields)}"
        )
    _check_value(index, lookup, value)
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    if last == "range" and lookup not in index.filter_fields and not is_pair:
        # Django would pass on any number of values, and the database fail.
        raise InvalidFilterError(f"The filter {lookup!r} takes two values, from and to.")
    return lookup


def _check_value(index: VectorIndex, lookup: str, value: Any) -> None:
    """Take plain values alone, however they are nested: an expression reaches other columns."""
    left, count = [value], 0
    while left:
        each = left.pop()
        count += 1
        is_many = isinstance(each, list | tuple | set | frozenset | range | dict)
        if count > MAXIMUM_VALUES or (is_many and len(each) > MAXIMUM_VALUES):
            raise InvalidFilterError(
                f"The filter {lookup!r} takes at most {MAXIMUM_VALUES:,} values."
            )
        if isinstance(each, str):
            if len(each) > MAXIMUM_LENGTH:
                raise InvalidFilterError(
                    f"A value of the filter {lookup!r} has more than {MAXIMUM_LENGTH:,} characters."
                )
            if "\x00" in each or _SURROGATE.search(each):
                raise InvalidFilterError(
                    f"The value of the filter {lookup!r} holds a NUL character, or half of one"
                    " (a surrogate)."
                )
        elif is_many:
            left += each
            left += each.values() if isinstance(each, dict) else ()
        elif hasattr(each, "resolve_expression") or (
            hasattr(each, "__iter__") and not isinstance(each, bytes | bytearray | memoryview)
        ):
            raise InvalidFilterError(
                f"The filter {lookup!r} of the index {index.name!r} takes a value or a list of"
                f" values, not {type(each).__name__}."
            )


def _path_of(lookup: str, rows: models.QuerySet[Any]) -> str:
    """Return the whole field path of a lookup: what a declared relation leads to is not it."""
    try:
        _, path, _ = rows.query.solve_lookup_type(lookup)
    except FieldError:
        return ""
    return LOOKUP_SEP.join(path)
