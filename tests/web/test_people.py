"""Who somebody is, whatever the project has for people."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from django_obc_ai.web.people import is_known, may
from tests.web.conftest import person


def test_people_are_known_who_logged_in_and_have_a_key() -> None:
    assert is_known(person())
    for other in (None, AnonymousUser(), person(key=None), SimpleNamespace(pk=1)):
        assert not is_known(other)


@pytest.mark.parametrize("user", [None, AnonymousUser(), person()])
def test_a_model_without_permissions_has_none(user: Any) -> None:
    assert not may(user, "django_obc_ai.add_job")


def test_somebody_with_the_permission_may() -> None:
    user = SimpleNamespace(has_perm=lambda name: name == "django_obc_ai.add_job")
    assert may(user, "django_obc_ai.add_job")
    assert not may(user, "django_obc_ai.view_dashboard")
