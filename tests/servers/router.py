"""A router for tests: everything is on the real PostgreSQL."""

from __future__ import annotations

from typing import Any


class ToPostgres:
    """Sends each read and each write to the alias "postgres"."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "postgres"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "postgres"
