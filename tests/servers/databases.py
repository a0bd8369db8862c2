"""Django's settings for the databases that tests use."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path


def sqlite_settings(path: str | Path) -> dict[str, object]:
    """Settings as the documentation recommends them: writers queue instead of failing."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "TEST": {"NAME": str(path)},
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }


def postgres_settings(host: str, name: str = "test") -> dict[str, object]:
    """Settings for a database of the PostgreSQL server whose socket is in the folder `host`."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": host,
        "PORT": "5432",
        "USER": "postgres",
        "NAME": name,
        # The same name, so that subprocesses with the test settings see the test's database.
        "TEST": {"NAME": name},
    }


def use_database(name: str, folder: str | Path, stack: ExitStack) -> None:
    """Let the test settings of this process and of its children mean a new database.

    Args:
        name: "sqlite", or "postgres" for a server that is started here.
        folder: Where a SQLite file goes.
        stack: Ends the server.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ["OBC_AI_TEST_SQLITE"] = f"{folder}/test.sqlite3"
    if name != "postgres":
        return
    import psycopg

    from tests.servers.postgres import run_postgres

    server = stack.enter_context(run_postgres())
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE test")
    os.environ["OBC_AI_TEST_DATABASE"] = "postgres"
    os.environ["OBC_AI_TEST_POSTGRES_HOST"] = server.host
