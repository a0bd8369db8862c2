"""Fixtures of the tests of checks."""

from __future__ import annotations

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker


@pytest.fixture(autouse=True)
def _known_features(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Django's own checks ask each database once what it can do; not first inside of a test."""
    with django_db_blocker.unblock():
        for connection in connections.all():
            assert connection.features.supports_json_field
