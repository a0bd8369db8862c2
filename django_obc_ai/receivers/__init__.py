"""Signal receivers: for the indexes' outbox, cached answers, budgets, and what a user has said.

They are connected to indexed models alone, to what these declare as `dependencies`, to models that
``OBC_AI["CACHE"]["models"]`` names, to budgets, whose changes all processes learn of, and to users.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.signals import setting_changed
from django.db import models, transaction
from django.db.models.signals import post_delete, post_save

from django_obc_ai.conf import get_settings, read_cache_models
from django_obc_ai.indexes import VectorIndex, get_indexes
from django_obc_ai.indexes.dependencies import steps_of
from django_obc_ai.models import Budget
from django_obc_ai.receivers import outbox, rows
from django_obc_ai.services._watched import named_models

__all__ = ["connect", "connect_all", "disconnect"]

_named: tuple[str, ...] = ()


def connect_all() -> None:
    """Watch the models of all registered indexes, with their relatives, and the others."""
    for index in get_indexes():
        connect(index)
    _watch_named()
    setting_changed.connect(_on_setting_changed, dispatch_uid="django_obc_ai:cache")
    for signal in (post_save, post_delete):
        signal.connect(_on_budget, sender=Budget, dispatch_uid="django_obc_ai:budgets")
    for model in apps.get_models():
        if issubclass(model, get_user_model()):
            post_delete.connect(
                _on_user_deleted, sender=model, dispatch_uid="django_obc_ai:conversations"
            )


def connect(index: VectorIndex) -> None:
    """Watch the model of one index; connecting twice changes nothing."""
    outbox.connect(index)
    rows.connect(_models_of(index))


def disconnect(index: VectorIndex) -> None:
    """Stop watching the model of an index; for tests."""
    outbox.disconnect(index)
    _watch_rows_anew(without=index)


def _models_of(index: VectorIndex) -> list[type[models.Model]]:
    return [index.model, *(step.model for step in steps_of(index))]


def _watch_rows_anew(without: VectorIndex | None = None) -> None:
    rows.disconnect()
    for index in get_indexes():
        if index is not without:
            rows.connect(_models_of(index))
    rows.connect(named_models())


def _watch_named() -> None:
    global _named
    names, _named = _named, read_cache_models()
    if names != _named:
        _watch_rows_anew()


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    if setting == "OBC_AI":
        _watch_named()


def _on_budget(using: str, **_: Any) -> None:
    """Put a changed budget in force when it is committed."""
    from django_obc_ai.gateway.budget import note_changed_budgets

    transaction.on_commit(note_changed_budgets, using=using, robust=True)


def _on_user_deleted(instance: models.Model, using: str, **_: Any) -> None:
    """Erase what a user has said, which a cascade does not reach in another database."""
    from django_obc_ai.services.content import erase_content
    from django_obc_ai.services.conversations import erase_conversations

    key = instance.pk
    if using != get_settings().database:
        for erase in (erase_conversations, erase_content):
            transaction.on_commit(partial(erase, key), using=using, robust=True)
