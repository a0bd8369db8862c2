"""Which users of the original are users here, and of which tenant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import router

from django_obc_ai.gateway.rows import fit
from django_obc_ai.services._obcms_tables import columns_of
from django_obc_ai.services.text import scope_of


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a row becomes: the key of a user, or None for nobody, and the tenant."""

    key: Any
    scope: str


class Owners:
    """Finds users by the keys that the original knew them by.

    Equal keys in two databases may be two people. Where the original has a database of its own, a
    user is the same only if key and name are, and nobody is if it has no table of users.
    """

    def __init__(self, alias: str) -> None:
        """Take the database of the original."""
        self._alias = alias
        self._model: Any = get_user_model()  # Any: of whichever project
        meta: Any = self._model._meta
        self._name = self._model.USERNAME_FIELD
        self._is_apart = alias != router.db_for_read(self._model)
        wanted = {meta.pk.column, meta.get_field(self._name).column}
        self.is_known = not self._is_apart or wanted <= columns_of(alias, meta.db_table)
        self._found: dict[Any, Owner] = {}
        self.nobody = Owner(None, fit("scope", scope_of(None)))

    def find(self, keys: Iterable[Any]) -> dict[Any, Owner]:
        """Return the owners of those keys whose users are here, by key as it was given."""
        wanted = {raw: self._key_of(raw) for raw in keys if raw is not None}
        missing = {key for key in wanted.values() if key is not None} - self._found.keys()
        if missing and self.is_known:
            here = {user.pk: user for user in self._model._base_manager.filter(pk__in=missing)}
            there = self._names_there(missing) if self._is_apart else None
            for key, user in here.items():
                if there is None or there.get(key) == user.get_username():
                    self._found[key] = Owner(key, fit("scope", scope_of(user)))
        return {raw: self._found[key] for raw, key in wanted.items() if key in self._found}

    def _names_there(self, keys: set[Any]) -> dict[Any, str]:
        rows = self._model._base_manager.using(self._alias).filter(pk__in=keys)
        return dict(rows.values_list("pk", self._name))

    def _key_of(self, raw: Any) -> Any:
        try:
            return self._model._meta.pk.to_python(raw)
        except ValidationError:
            return None
