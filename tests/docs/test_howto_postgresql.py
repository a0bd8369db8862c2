"""The page on searching in PostgreSQL, followed with a real one."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.docs.execute import Page
from tests.docs.markdown import DOCS
from tests.servers.postgres import PostgresServer

PAGE = DOCS / "howto" / "search-in-postgresql.md"


def test_the_page_does_what_it_says(
    project: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(postgres_server.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE clinics")
        monkeypatch.setenv("PGHOST", postgres_server.host)
        monkeypatch.setenv("PGUSER", "postgres")
        try:
            assert Page(PAGE, project, settings="mysite.settings").follow() >= 10
        finally:
            admin.execute("DROP DATABASE clinics WITH (FORCE)")
