"""A database of its own for a proof or a benchmark."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import psycopg

from tests.servers.postgres import run_postgres


def use_database(name: str, folder: str | Path, stack: ExitStack, **changed: str) -> None:
    """Let the test settings of this process and of its children mean a new database.

    Args:
        name: "sqlite", or "postgres" for a server that is started here.
        folder: Where a SQLite file goes.
        stack: Ends the server.
        changed: See `run_postgres`.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ["OBC_AI_TEST_SQLITE"] = f"{folder}/test.sqlite3"
    if name != "postgres":
        return
    server = stack.enter_context(run_postgres(**changed))
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE test")
    os.environ["OBC_AI_TEST_DATABASE"] = "postgres"
    os.environ["OBC_AI_TEST_POSTGRES_HOST"] = server.host
