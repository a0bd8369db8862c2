"""Declarations over the test models: places that some hide, and their owners."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import Q
from django.test import override_settings

from tests.testapp.models import Place


def visible_places(queryset: Any, user: Any) -> Any:
    pk = getattr(user, "pk", None)
    return queryset.filter(Q(is_hidden=False) | Q(owner_id=pk, owner__isnull=False))


def visible_users(queryset: Any, user: Any) -> Any:
    return queryset.exclude(username="ghost")


DECLARED: dict[str, Any] = {
    "testapp.Place": {
        "fields": {"name": "Name of the place.", "province": ""},
        "relations": ["owner"],
        "visible_to": visible_places,
        "max_rows": 50,
    },
    "auth.User": {
        "fields": ["username", "first_name", "is_active", "date_joined"],
        "visible_to": visible_users,
    },
}


@pytest.fixture
def declared() -> Iterator[None]:
    with override_settings(OBC_AI={"CHAT": {"models": DECLARED}}):
        yield


@pytest.fixture
def asker(db: None) -> User:
    """A user who may view both models."""
    user = User.objects.create_user("asker", password="x")
    names = ["view_place", "view_user"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return User.objects.get(pk=user.pk)


@pytest.fixture
def places(asker: User) -> dict[str, Place]:
    ghost = User.objects.create_user("ghost", first_name="Hidden")
    rows = [
        ("Parang", "Maguindanao", False, None),
        ("Upi", "Maguindanao", False, asker),
        ("Jolo", "Sulu", False, ghost),
        ("Secret", "Sulu", True, ghost),
        ("Mine", "Sulu", True, asker),
    ]
    return {
        name: Place.objects.create(name=name, province=province, is_hidden=hidden, owner=owner)
        for name, province, hidden, owner in rows
    }
