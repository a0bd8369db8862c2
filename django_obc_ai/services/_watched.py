"""Which models' rows may be tags: those whose changes are noticed."""

from __future__ import annotations

from collections.abc import Iterable

from django.apps import apps
from django.db import models

from django_obc_ai.conf import read_cache_models
from django_obc_ai.gateway import tags
from django_obc_ai.indexes import get_indexes
from django_obc_ai.indexes.dependencies import is_kin, steps_of


def named_models() -> list[type[models.Model]]:
    """Return the models that ``OBC_AI["CACHE"]["models"]`` names; a check tells of the others."""
    found = []
    for label in read_cache_models():
        try:
            found.append(apps.get_model(label))
        except LookupError:
            continue
    return found


def is_watched(model: type[models.Model]) -> bool:
    """Return whether each save and deletion of a model's rows is noticed."""
    return any(is_kin(model, each) for each in named_models()) or any(
        index.is_fed_by(model) or any(is_kin(model, step.model) for step in steps_of(index))
        for index in get_indexes()
    )


def names_of(tags_or_rows: Iterable[str | models.Model]) -> list[str]:
    """Return the names of tags, those of rows included.

    Raises:
        TypeError: Something is neither a text nor a row whose changes are noticed.
        ValueError: A row has no primary key yet.
    """
    names: list[str] = []
    for each in tags_or_rows:
        if isinstance(each, str):
            names.append(each)
            continue
        if not isinstance(each, models.Model):
            raise TypeError(f"A tag is a text or a row, and not of type {type(each).__name__}.")
        label = each._meta.label
        if not is_watched(type(each)):
            raise TypeError(
                f"Rows of {label} are no tags: nobody notices when they change. Add {label!r} to"
                " OBC_AI['CACHE']['models'], or give tag_of(row) and call invalidate() yourself."
            )
        names += tags.row_tags(each)
    return names
