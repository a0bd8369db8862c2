"""E005, E009, E011, E016 and W004: the declared indexes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage
from django.core.exceptions import FieldDoesNotExist
from django.db import DatabaseError, models
from django.db.models.constants import LOOKUP_SEP

from django_obc_ai.checks.messages import error, from_exception, warning
from django_obc_ai.conf import find_errors, get_settings, suggest
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.indexes import VectorIndex, generations, get_indexes
from django_obc_ai.indexes.dependencies import resolve
from django_obc_ai.indexes.splitting import check_packages
from django_obc_ai.services._fusion import MODES

_MAX_KEY_LENGTH = 255  # of the outbox's column


def check_indexes(**_: Any) -> list[CheckMessage]:
    """Report indexes that say nothing about permissions or name what does not exist."""
    messages: list[CheckMessage] = []
    for index in get_indexes():
        where = f"The index {index.name!r} ({type(index).__module__})"
        if type(index).visible_to is VectorIndex.visible_to:
            messages.append(
                error(
                    "E009",
                    f"{where} does not define visible_to(self, queryset, user).",
                    "Return the rows the user may see; 'return queryset' makes all rows public.",
                )
            )
        if not index.fields and type(index).get_text is VectorIndex.get_text:
            messages.append(
                error("E011", f"{where} has neither fields nor get_text().", "Give one of them.")
            )
        if (index.model._meta.pk.max_length or 0) > _MAX_KEY_LENGTH:
            messages.append(
                error(
                    "E011",
                    f"{where}: the primary key of {index.model._meta.label} may be longer than"
                    f" {_MAX_KEY_LENGTH} characters.",
                    "Index a model with a shorter key.",
                )
            )
        for attribute in ("fields", "filter_fields"):
            for path in getattr(index, attribute):
                messages += _check_path(
                    index.model, path, f"{where}, {attribute}", is_text=attribute == "fields"
                )
        messages += [*_check_dependencies(index, where), *_check_mode(index, where)]
        try:
            check_packages(index)
        except ConfigurationError as exception:
            messages.append(from_exception(exception))
        if not find_errors():
            for key in ("embedder", "vector_store", "lexical_store", "reranker"):
                aliases = get_settings().backends(f"{key}s")
                alias = getattr(index, key)
                if alias is not None and alias not in aliases:
                    setting = f"OBC_AI[{key.upper() + 'S'!r}]"
                    messages.append(
                        error(
                            "E011",
                            f"{where} names the {key} {alias!r}, which {setting} lacks.",
                            suggest(alias, aliases),
                        )
                    )
    return messages


def _check_mode(index: VectorIndex, where: str) -> list[CheckMessage]:
    found = []
    if index.search_mode is not None and index.search_mode not in MODES:
        message = f"{where} has the search_mode {index.search_mode!r}."
        found.append(error("E011", message, suggest(str(index.search_mode), MODES)))
    weight: Any = index.lexical_weight
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
        message = f"{where} has a lexical_weight that is no number above 0."
        found.append(error("E011", message, "1.0 lets words count as much as vectors."))
    return found


def _check_dependencies(index: VectorIndex, where: str) -> list[CheckMessage]:
    if isinstance(index.dependencies, str):
        return [error("E016", f"{where}: dependencies is a text.", "Write a list of paths.")]
    found = []
    for path in index.dependencies:
        try:
            resolve(index.model, path)
        except ValueError as exception:
            found.append(
                error(
                    "E016",
                    f"{where}, dependencies: {exception}",
                    "Name relations of the model, such as 'municipality__province'.",
                )
            )
    return found


def _check_path(
    model: type[models.Model], path: str, where: str, *, is_text: bool
) -> list[CheckMessage]:
    current: Any = model
    for name in path.split(LOOKUP_SEP):
        try:
            field = current._meta.get_field(name if name != "pk" else current._meta.pk.name)
        except FieldDoesNotExist:
            if is_text and hasattr(current, name):  # a property or method's value ends the path
                return []
            names = [each.name for each in current._meta.get_fields()]
            return [
                error(
                    "E011",
                    f"{where}: {path!r} names {name!r}, which {current._meta.label} lacks.",
                    suggest(name, names),
                )
            ]
        if is_text and (field.many_to_many or field.one_to_many):
            return [
                error(
                    "E011",
                    f"{where}: {path!r} has many values for one row.",
                    "Override get_text() and join them there.",
                )
            ]
        if not field.is_relation or field.related_model is None:
            return []
        current = field.related_model
    return []


def check_index_embedders(
    *, databases: Sequence[str] | None = None, **_: Any
) -> list[CheckMessage]:
    """W004: an index was built with another embedder; runs with ``check --database``."""
    from django_obc_ai.services.embeddings import EmbeddingService

    messages: list[CheckMessage] = []
    for index in get_indexes():
        if index.database not in (databases or ()):
            continue
        try:
            serving = generations.serving_of(index)
            if serving is None:
                continue
            identity = EmbeddingService(index.embedder).identity
        except DatabaseError:  # not migrated yet: there is no index either
            continue
        except ConfigurationError as exception:
            messages.append(from_exception(exception))
            continue
        if serving.fingerprint != generations.fingerprint_of(index, identity):
            messages.append(
                warning(
                    "W004",
                    f"The index {index.name!r} was built with another embedder or text template"
                    " than is configured now, and cannot be searched.",
                    f"Run: manage.py ai_index {index.name}",
                )
            )
    return messages
