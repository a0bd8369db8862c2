"""The projects that overhead.py measures: which servers, which settings, which ways."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks._litellm import Speaker

BUDGET = {"BUDGETS": [{"scope": "global", "period": "day", "limit_usd": "100000"}]}
LIMITS = {
    "RATE_LIMITS": {
        "default": {
            "per_minute": 1_000_000, "tokens_per_minute": 1_000_000_000, "per_day": 100_000_000,
            "when_exceeded": "refuse",
        }
    }
}  # fmt: skip
CACHES = "django.core.cache.backends"


def _obc_ai(provider: str, url: str, key: str, **changed: Any) -> dict[str, Any]:
    entry = {
        "BACKEND": f"django_obc_ai.backends.providers.{provider}",
        "OPTIONS": {"api_key": key, "model": "gemini-2.5-flash", "base_url": url},
    }
    return {"PROVIDERS": {"default": entry}, "RATE_LIMITS": {"default": None}, **changed}


class Projects:
    """Starts a process for each project, each with a database of its own kind."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        from tests.servers.gemini import run_gemini_process
        from tests.servers.valkey import run_redis

        self.stack, self.folder = stack, folder
        self.gemini = stack.enter_context(run_gemini_process())
        self.redis = stack.enter_context(run_redis())
        self.stores = {
            "default": {
                "BACKEND": "django_obc_ai.backends.cost_stores.redis.RedisCostStore",
                "OPTIONS": {"url": self.redis.url},
            }
        }
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        self.postgres_host = self._postgres()

    def _postgres(self) -> str:
        """Start a server that forgets nothing it has confirmed."""
        import psycopg

        from tests.servers.postgres import DURABLE, run_postgres

        server = self.stack.enter_context(run_postgres(**DURABLE))
        with psycopg.connect(server.dsn, autocommit=True) as admin:
            admin.execute("CREATE DATABASE test")
        return server.host

    def start(
        self, name: str, ways: list[str], *, database: str, settings: dict[str, Any]
    ) -> Speaker:
        """Start a process; it is ready when it has answered."""
        import subprocess

        base = self.folder / name
        base.mkdir()
        environment = {
            "OBC_AI_TEST_SQLITE": str(base / "db.sqlite3"),
            "OBC_AI_TEST_BASE_DIR": str(base),
            "OBC_AI_TEST_DATABASE": database,
            "OBC_AI_TEST_POSTGRES_HOST": self.postgres_host,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        os.environ |= environment
        migrate = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, check=True)
        facts = {
            "settings": settings, "ways": ways, "url": self.gemini.url, "key": self.gemini.key,
        }  # fmt: skip
        script = str(Path(__file__).with_name("_overhead_ways.py"))
        return Speaker([sys.executable, script, json.dumps(facts)], self.stack)

    def redis_project(self, name: str, ways: list[str], *, rows: str, cache: str) -> Speaker:
        """Budget, limits, flights and breaker on Redis; the ledger in PostgreSQL.

        Args:
            rows: ``LOG["rows"]``.
            cache: "redis" or "locmem".
        """
        given = _obc_ai(
            "google_genai.GoogleGenAIProvider", self.gemini.url, self.gemini.key,
            COST_STORES=self.stores, LOG={"rows": rows}, **BUDGET, **LIMITS,
        )  # fmt: skip
        caches = {
            "redis": {"BACKEND": f"{CACHES}.redis.RedisCache", "LOCATION": self.redis.url},
            "locmem": {"BACKEND": f"{CACHES}.locmem.LocMemCache"},
        }
        settings = {"OBC_AI": given, "CACHES": {"default": caches[cache]}}
        return self.start(name, ways, database="postgres", settings=settings)

    def embedded_project(
        self, name: str, ways: list[str], provider: str, **changed: Any
    ) -> Speaker:
        """What a project has that sets nothing but a provider: SQLite for all."""
        given = _obc_ai(provider, self.gemini.url, self.gemini.key, **changed)
        return self.start(name, ways, database="", settings={"OBC_AI": given})
