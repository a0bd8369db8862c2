"""Receivers that drop the answers made of a row when it changes."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from django.apps import apps
from django.db import models
from django.db.models.signals import m2m_changed, post_delete, post_save

from django_obc_ai.gateway import tags
from django_obc_ai.indexes.dependencies import is_kin, save_atomically

_UID = "django_obc_ai:tags"


def connect(watched: Collection[type[models.Model]]) -> None:
    """Watch rows of models, their relatives included; connecting twice changes nothing."""
    for model in apps.get_models():
        is_wanted = any(is_kin(model, each) for each in watched)
        if is_wanted:
            save_atomically(model)
            for signal in (post_save, post_delete):
                signal.connect(_on_row, sender=model, dispatch_uid=_UID)
        for field in model._meta.local_many_to_many:
            if is_wanted or any(is_kin(field.related_model, each) for each in watched):
                m2m_changed.connect(
                    partial(_on_relation, field),
                    sender=field.remote_field.through,
                    weak=False,
                    dispatch_uid=f"{_UID}:{field.name}",
                )


def disconnect() -> None:
    """Watch no rows any more; for tests."""
    for model in apps.get_models():
        for signal in (post_save, post_delete):
            signal.disconnect(sender=model, dispatch_uid=_UID)
        for field in model._meta.local_many_to_many:
            through = field.remote_field.through
            m2m_changed.disconnect(sender=through, dispatch_uid=f"{_UID}:{field.name}")


def _on_row(instance: models.Model, using: str, **_: Any) -> None:
    tags.invalidate(tags.row_tags(instance), using=using)


def _on_relation(
    field: Any,
    instance: models.Model,
    action: str,
    reverse: bool,
    model: type[models.Model],
    pk_set: set[Any] | None,
    using: str,
    sender: type[models.Model],
    **_: Any,
) -> None:
    """Drop the answers made of either side; who was related is not known after a clear."""
    pks = pk_set or set()
    if action == "pre_clear":
        mine, others = field.m2m_field_name(), field.m2m_reverse_field_name()
        if reverse:
            mine, others = others, mine
        related = sender._base_manager.using(using).filter(**{mine: instance})
        pks = set(related.values_list(f"{others}__pk", flat=True))
    elif not action.startswith("post_"):
        return
    names = [*tags.row_tags(instance), *(tags.row_tag_of(model, pk) for pk in pks)]
    tags.invalidate(names, using=using)
