"""Django's settings for the databases that tests use."""

from __future__ import annotations

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
