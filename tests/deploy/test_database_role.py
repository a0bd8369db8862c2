"""A role that may not make databases: told at a deploy, and what to do at a restore."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import connections

from tests.servers.postgres import PostgresServer


@pytest.fixture
def settings_of_role(postgres_server: PostgresServer) -> dict[str, Any]:
    with psycopg.connect(postgres_server.dsn, autocommit=True) as connection:
        connection.execute('DROP ROLE IF EXISTS "at-las"')
        connection.execute('CREATE ROLE "at-las" LOGIN')
    given = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "at-las"}
    given |= {"PASSWORD": "", "HOST": postgres_server.host, "PORT": "", "OPTIONS": {}}
    return {**connections["default"].settings_dict, **given}


@pytest.mark.django_db(transaction=True)  # for the connections that are opened beside
def test_a_role_that_may_not_make_databases_is_told_what_it_needs(
    install: SimpleNamespace,
    settings_of_role: dict[str, Any],
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = importlib.import_module("deploy.install.database")
    server = importlib.import_module("deploy.backups.postgres").Server(settings_of_role)
    configured = SimpleNamespace(vendor="postgresql", settings_dict=settings_of_role)
    monkeypatch.setattr(database, "_connection", lambda: configured)
    statement = 'ALTER ROLE "at-las" CREATEDB'
    assert database.make() == [f"note: db_restore.sh needs {statement}"]
    with pytest.raises(install.problems.Problem, match=f"Its superuser runs {statement}"):
        server.create("another", {"ENCODING": "UTF8"})
    with psycopg.connect(postgres_server.dsn, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]
    assert database.make() == []
