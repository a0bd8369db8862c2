"""Receivers that note changed rows of indexes, and of what these declare as `dependencies`."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.apps import apps
from django.db import models
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from django_obc_ai.indexes import VectorIndex
from django_obc_ai.indexes.dependencies import Step, is_kin, save_atomically, steps_of


def connect(index: VectorIndex) -> None:
    """Watch the model of one index; connecting twice changes nothing."""
    for model in apps.get_models():
        if not index.is_fed_by(model):
            continue
        save_atomically(model)
        for signal in (post_save, post_delete):
            signal.connect(
                partial(_on_row, index),
                sender=model,
                weak=False,
                dispatch_uid=f"django_obc_ai:{index.name}",
            )
    for field in index.model._meta.many_to_many:
        m2m_changed.connect(
            partial(_on_relation, index),
            sender=field.remote_field.through,
            weak=False,
            dispatch_uid=f"django_obc_ai:{index.name}:{field.name}",
        )
    for step in steps_of(index):
        _connect_step(index, step)


def _connect_step(index: VectorIndex, step: Step) -> None:
    """Watch the rows that one relation of `dependencies` leads to, and the relation itself.

    What depends on a row is read before it is deleted, while it can still be found. A save
    can move a row of a reverse relation from one object to another: both sides are read.
    """
    uid = f"django_obc_ai:{index.name}:{step.path}"
    signals = [post_save, pre_delete, *([pre_save] if step.is_moved_by_saves else [])]
    for model in apps.get_models():
        if not is_kin(model, step.model):
            continue
        save_atomically(model)
        for signal in signals:
            signal.connect(
                partial(_on_dependency, index, step.path),
                sender=model,
                weak=False,
                dispatch_uid=uid,
            )
    if step.through is not None and step.source:
        m2m_changed.connect(
            partial(_on_far_relation, index, step),
            sender=step.through,
            weak=False,
            dispatch_uid=uid,
        )


def disconnect(index: VectorIndex) -> None:
    """Stop watching the model of an index; for tests."""
    for model in apps.get_models():
        for signal in (post_save, post_delete):
            signal.disconnect(sender=model, dispatch_uid=f"django_obc_ai:{index.name}")
        for step in steps_of(index):
            for signal in (pre_save, post_save, pre_delete):
                signal.disconnect(
                    sender=model, dispatch_uid=f"django_obc_ai:{index.name}:{step.path}"
                )
    for step in steps_of(index):
        m2m_changed.disconnect(
            sender=step.through, dispatch_uid=f"django_obc_ai:{index.name}:{step.path}"
        )
    for field in index.model._meta.many_to_many:
        m2m_changed.disconnect(
            sender=field.remote_field.through,
            dispatch_uid=f"django_obc_ai:{index.name}:{field.name}",
        )


def _on_row(index: VectorIndex, instance: models.Model, using: str, **_: Any) -> None:
    from django_obc_ai.services.changes import mark_keys

    mark_keys(index, [index.key_of_pk(instance.pk)], using=using)


def _on_dependency(
    index: VectorIndex, path: str, instance: models.Model, using: str, **_: Any
) -> None:
    from django_obc_ai.services.changes import mark_dependents

    if instance.pk is not None:
        mark_dependents(index, path, [instance.pk], using=using)


def _on_far_relation(
    index: VectorIndex,
    step: Step,
    instance: models.Model,
    action: str,
    reverse: bool,
    pk_set: set[Any] | None,
    using: str,
    **_: Any,
) -> None:
    """Note what depends on a many-to-many relation between two other models."""
    from django_obc_ai.services.changes import mark_dependents

    if reverse == step.is_reverse:  # the near side changed
        if action.startswith("post_"):
            mark_dependents(index, step.source, [instance.pk], using=using)
    elif action in ("post_add", "post_remove"):
        mark_dependents(index, step.source, list(pk_set or ()), using=using)
    elif action == "pre_clear":
        mark_dependents(index, step.path, [instance.pk], using=using)


def _on_relation(
    index: VectorIndex,
    instance: models.Model,
    action: str,
    reverse: bool,
    pk_set: set[Any] | None,
    using: str,
    **_: Any,
) -> None:
    """Note the indexed side of a changed many-to-many relation."""
    from django_obc_ai.services.changes import mark_changed, mark_keys

    if not reverse:
        if action.startswith("post_"):
            mark_keys(index, [index.key_of_pk(instance.pk)], using=using)
    elif action in ("post_add", "post_remove"):
        mark_changed(index.model, pk_set or (), using=using)
    elif action == "pre_clear":
        # After the clear nobody knows which objects were related.
        rows = index.model._base_manager.using(using)
        names = [
            field.name
            for field in index.model._meta.many_to_many
            if isinstance(instance, field.remote_field.model)
        ]
        for name in names:
            pks = rows.filter(**{name: instance.pk}).values_list("pk", flat=True)
            mark_changed(index.model, list(pks), using=using)
