"""Users as the admin shows them: they may live in another database."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db import models, router

from django_obc_ai.conf import get_settings


def users_are_near() -> bool:
    """Return whether users live in the package's database, so that a join reaches them."""
    return router.db_for_read(get_user_model()) == get_settings().database


def name_of(row: models.Model, field: str) -> str:
    """Return the name of a row's user, or only the key where users live elsewhere or it is gone."""
    key: Any = getattr(row, f"{field}_id")
    if key is None:
        return "-"
    user = getattr(row, field) if users_are_near() else None
    return f"#{key}" if user is None else str(user)


def key_of(name: str) -> Any:
    """Return the key of the user who logs in by this name, or None."""
    users: Any = get_user_model()._default_manager  # whatever the project's model is
    named = {users.model.USERNAME_FIELD: name}
    return users.filter(**named).values_list("pk", flat=True).first()
