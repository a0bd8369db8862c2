"""The process's registered indexes, by name."""

from __future__ import annotations

from typing import TypeVar

from django.db import models

from django_obc_ai.conf import suggest
from django_obc_ai.exceptions import ConfigurationError, UnknownIndexError
from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.indexes.text_formats import check_attributes

IndexT = TypeVar("IndexT", bound=type[VectorIndex])
_indexes: dict[str, VectorIndex] = {}


def register(index_class: IndexT) -> IndexT:
    """Register an index; a class decorator for ``ai_indexes.py``.

    Raises:
        ConfigurationError: Name or model is missing, the name is taken, texts cannot be split
            as the class says, or minimum_recall is no share.
    """
    where = f"{index_class.__module__}.{index_class.__qualname__}"
    name = getattr(index_class, "name", None)
    model = getattr(index_class, "model", None)
    if not isinstance(name, str) or not 0 < len(name) <= 100:
        raise ConfigurationError(
            f"The index {where} has no usable name.", hint='Set name = "…", up to 100 characters.'
        )
    if not (isinstance(model, type) and issubclass(model, models.Model)):
        raise ConfigurationError(f"The index {where} has no model.", hint="Set model = YourModel.")
    check_attributes(index_class, where)
    floor: object = index_class.minimum_recall
    if isinstance(floor, bool) or not isinstance(floor, (int, float)) or not 0 < floor <= 1:
        raise ConfigurationError(
            f"The index {where} has a minimum_recall of {floor!r}.",
            hint="Give a number above 0 and at most 1; 0.95 is the default.",
        )
    known = _indexes.get(name)
    if known is not None and (
        type(known).__module__ != index_class.__module__
        or type(known).__qualname__ != index_class.__qualname__
    ):
        raise ConfigurationError(
            f"The index name {name!r} is taken by {type(known).__module__}.", hint="Rename one."
        )
    _indexes[name] = index_class()
    return index_class


def unregister(name: str) -> None:
    """Forget an index; for tests."""
    _indexes.pop(name, None)


def get_index(name: str) -> VectorIndex:
    """Return a registered index.

    Raises:
        UnknownIndexError: There is none of that name; the message names the nearest.
    """
    try:
        return _indexes[name]
    except KeyError:
        raise UnknownIndexError(
            f"No index is named {name!r}. {suggest(name, _indexes)} Indexes are declared in"
            " the ai_indexes.py of an installed app."
        ) from None


def get_indexes() -> list[VectorIndex]:
    """Return all registered indexes, by name."""
    return [_indexes[name] for name in sorted(_indexes)]
