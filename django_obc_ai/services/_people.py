"""Whose data is meant: a user, or the key of one that may be deleted already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user's primary key, and the user if there is one."""

    key: Any
    user: Any = None

    @property
    def name(self) -> str:
        """Return the user name, "" if the user is deleted."""
        return "" if self.user is None else str(self.user.get_username())


def person_of(user: Any) -> Person:
    """Return whom a user or a primary key stands for.

    Raises:
        ValueError: It is an AnonymousUser, None, a user that is not saved, or no such key.
    """
    model = get_user_model()
    if isinstance(user, model):
        if user.pk is None:
            raise ValueError("The user is not saved, or is deleted; give the primary key.")
        return Person(key=user.pk, user=user)
    if user is None or isinstance(user, AnonymousUser):
        raise ValueError("Nobody is meant; give a user or a primary key.")
    try:
        key = model._meta.pk.to_python(user)
    except ValidationError:
        raise ValueError(f"A value of type {type(user).__name__} is no key of a user.") from None
    return Person(key=key, user=model._base_manager.filter(pk=key).first())


def find_person(text: str) -> Person:
    """Return who is meant by a user name or a primary key; "id:…" and "name:…" say which.

    Raises:
        ValueError: Nobody is, or two are.
    """
    kind, _, rest = text.partition(":")
    rest = rest if kind in ("id", "name") else text
    named = keyed = None
    if kind != "id":
        model = get_user_model()
        named = model._base_manager.filter(**{model.USERNAME_FIELD: rest}).first()
    if kind != "name":
        try:
            keyed = person_of(rest)
        except ValueError:
            keyed = None
    if named is None:
        if keyed is None:
            raise ValueError("There is no user of that name, and it is no primary key.")
        return keyed
    # The user with that key may be deleted already, and may be who is meant all the same.
    if keyed is not None and keyed.key != named.pk:
        raise ValueError('One user has that name and another that key; say "name:…" or "id:…".')
    return Person(key=named.pk, user=named)
