"""The partitions of the page on keeping the ledger small, on a PostgreSQL of their own."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from django_obc_ai.gateway import inserts
from django_obc_ai.models import AIOperation
from django_obc_ai.services.costs import CostTracker
from django_obc_ai.services.retention import purge_operations
from tests.docs.markdown import DOCS, blocks
from tests.servers.postgres import PostgresServer

CONVERT, ADD, DROP = (
    each.text
    for each in blocks(DOCS / "howto" / "keep-the-ledger-small.md")
    if each.language == "postgres"
)


@pytest.fixture
def database(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, postgres_server: PostgresServer
) -> Iterator[Any]:
    entries = {"default": {}, "partitioned": postgres_server.settings("partitioned")}
    connections.databases["partitioned"] = connections.configure_settings(entries)["partitioned"]
    connection = connections["partitioned"]
    with django_db_blocker.unblock(), override_settings(OBC_AI={"DATABASE": "partitioned"}):
        connection.creation.create_test_db(verbosity=0, autoclobber=True)
        yield connection
        connection.creation.destroy_test_db("partitioned", verbosity=0)
    del connections["partitioned"]
    del connections.databases["partitioned"]


def operation(**values: Any) -> AIOperation:
    return AIOperation(provider="p", success=True, prompt_hash="", cost_usd=1, **values)


def indexes_of(database: Any) -> list[str]:
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename = 'django_obc_ai_aioperation'"
        )
        return sorted(name for (name,) in cursor.fetchall())


def test_the_ledger_works_in_partitions(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    then = datetime.datetime(2026, 1, 5, 3, tzinfo=datetime.UTC)
    operation(created_at=then, recorded_at=then).save(using="partitioned")
    declared = {each.name for each in AIOperation._meta.indexes}
    before = indexes_of(database)
    assert declared <= set(before)
    with database.cursor() as cursor:
        cursor.execute(CONVERT)
        cursor.execute(ADD)
    assert [each for each in before if "pkey" not in each] == [
        each for each in indexes_of(database) if "pkey" not in each
    ]
    assert AIOperation.objects.get().created_at == then

    later = datetime.datetime(2031, 1, 20, 3, tzinfo=datetime.UTC)
    again = operation(created_at=later, recorded_at=later)
    assert inserts.store(again, "partitioned")
    assert not inserts.store(again, "partitioned")
    assert AIOperation.objects.count() == 2

    monkeypatch.setattr(timezone, "now", lambda: later + datetime.timedelta(days=40))
    assert purge_operations(datetime.timedelta(days=10)).deleted == 2
    with database.cursor() as cursor:
        cursor.execute(DROP)
    assert CostTracker().get_monthly_cost(2031, 1) == 1
    assert CostTracker().get_monthly_cost(2026, 1) == 1
