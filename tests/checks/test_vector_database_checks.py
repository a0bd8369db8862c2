"""Checks of vector stores in the database, and of the migration that prepares it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, connections
from django.test import override_settings

from django_obc_ai.backends.vector_stores import _pgvector_tables as tables
from django_obc_ai.checks import vector_databases as checked
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.testing import override_ai
from tests.checks.test_checks import assert_only
from tests.indexes.in_postgres import DATABASES, in_postgres, pgvector

is_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="is about SQLite")


@is_sqlite
@pytest.mark.django_db
def test_E023_pgvector_without_postgresql() -> None:  # noqa: N802
    with override_ai(VECTOR_STORES=pgvector()):
        messages = checked.check_vector_databases()
        assert len(messages) == 4
        assert_only("E023", messages, "'places'")
        with pytest.raises(ConfigurationError, match="SQLite") as raised:
            tables.ensure_extension("default")
        assert raised.value.check_id == "E023"
    with override_ai():
        assert checked.check_vector_databases() == []
    with override_settings(OBC_AI={"NONSENSE": 1}):
        assert checked.check_vector_databases() == []
        assert checked.check_vector_extensions(databases=["default"]) == []


@pytest.fixture
def without_extension(postgres_alias: str) -> Iterator[None]:
    with connections[postgres_alias].cursor() as cursor:
        cursor.execute("DROP EXTENSION vector CASCADE")
    with in_postgres():
        yield


@pytest.mark.django_db(databases=DATABASES)
def test_E024_a_database_without_pgvector(without_extension: None) -> None:  # noqa: N802
    assert checked.check_vector_databases() == []
    assert checked.check_vector_extensions(databases=["default"]) == []
    assert checked.check_vector_extensions() == []
    messages = checked.check_vector_extensions(databases=["postgres"])
    assert_only("E024", messages, "has no pgvector")
    assert "CREATE EXTENSION" in messages[0].hint
    tables.ensure_extension("postgres")
    assert checked.check_vector_extensions(databases=["postgres"]) == []


@pytest.mark.django_db(databases=DATABASES)
def test_E024_a_pgvector_that_is_too_old(  # noqa: N802
    postgres_alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "extension_version", lambda alias: "0.7.4")
    with in_postgres():
        messages = checked.check_vector_extensions(databases=["postgres"])
        assert_only("E024", messages, "0.7.4")
        with pytest.raises(ConfigurationError, match=r"0\.8 is needed"):
            tables.ensure_extension("postgres")


def test_versions_are_compared_as_numbers() -> None:
    assert [tables.is_recent(each) for each in ("0.7.4", "0.8.0", "0.10.1", "1.0")] == [
        False, True, True, True,
    ]  # fmt: skip


@is_sqlite
@pytest.mark.django_db
def test_the_migration_does_nothing_on_other_databases() -> None:
    migration = importlib.import_module("django_obc_ai.migrations.0001_initial")
    assert migration.create_vector_extension(apps, connection.schema_editor()) is None
    call_command("makemigrations", "django_obc_ai", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db(databases=DATABASES)
def test_the_migration_makes_the_extension_where_it_may_and_is_silent_elsewhere(
    without_extension: None,
) -> None:
    migration = importlib.import_module("django_obc_ai.migrations.0001_initial")
    with connections["postgres"].cursor() as cursor, connections["postgres"].schema_editor() as it:
        cursor.execute("CREATE ROLE limited")
        cursor.execute("SET ROLE limited")
        migration.create_vector_extension(apps, it)
        assert tables.extension_version("postgres") == ""
        cursor.execute("RESET ROLE")
        migration.create_vector_extension(apps, it)
        assert tables.is_recent(tables.extension_version("postgres"))
        cursor.execute("DROP ROLE limited")
