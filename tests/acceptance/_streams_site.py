"""A project under uvicorn on PostgreSQL, for the proofs about the API."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from tests.acceptance._traffic import DEADLINE, NO_BREAKER, ROOT

MODEL = "gemini-2.5-flash"
TOKEN = "a" * 32
GENAI = "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider"
STORE = "django_obc_ai.backends.cost_stores.redis.RedisCostStore"
#: As many requests as a proof makes.
NO_THROTTLES = {"anon": None, "user": None, "burst": None}


class ApiSite:
    """Servers, settings and processes.

    Attributes:
        pool: Connections of one process to the database, at most.
        workers: Processes of uvicorn.
    """

    def __init__(
        self,
        stack: ExitStack,
        folder: str,
        *,
        workers: int = 1,
        pool: int = 10,
        apps: tuple[str, ...] = (),
        **changed: Any,
    ) -> None:
        """Start the servers, prepare the database and set up Django in this process.

        Args:
            stack: Ends all.
            folder: For files.
            workers: Processes of uvicorn.
            pool: See above.
            apps: More of INSTALLED_APPS.
            changed: Of OBC_AI.
        """
        self.stack, self.folder = stack, Path(folder)
        self.workers, self.pool, self._apps, self._changed = workers, pool, apps, changed
        os.environ["OBC_AI_TEST_BASE_DIR"] = folder
        from tests.servers.gemini import run_gemini_process
        from tests.servers.new_database import use_database
        from tests.servers.valkey import run_redis

        use_database("postgres", folder, stack)
        self.dsn = f"host={os.environ['OBC_AI_TEST_POSTGRES_HOST']} user=postgres dbname=test"
        self.gemini = stack.enter_context(run_gemini_process())
        self.redis = stack.enter_context(run_redis())
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.acceptance._streams_project"
        self.facts = self.folder / "facts.json"
        os.environ["OBC_AI_STREAMS_FACTS"] = str(self.facts)
        self.configure()
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"],
            check=True, cwd=ROOT, timeout=DEADLINE,
        )  # fmt: skip
        import django

        django.setup()

    def settings(self) -> dict[str, Any]:
        """Return the settings that differ from those of the tests."""
        options = {"api_key": self.gemini.key, "model": MODEL, "base_url": self.gemini.url}
        places = {"fields": {"name": "Its name.", "province": "Where it is."}}
        places["needs_permission"] = False  # type: ignore[assignment]
        places["visible_to"] = f"{__name__}.all_rows"  # type: ignore[assignment]
        obc_ai = {
            "PROVIDERS": {"default": {"BACKEND": GENAI, "OPTIONS": options}},
            "COST_STORES": {
                "default": {
                    "BACKEND": STORE, "OPTIONS": {"url": self.redis.url, "lease_seconds": 2.0},
                }
            },
            "BUDGETS": [{"scope": "global", "period": "total", "limit_usd": "1000"}],
            "RATE_LIMITS": {"default": None},
            "BREAKER": NO_BREAKER,
            "CHAT": {"models": {"testapp.Place": places}},
            "WEB": {"throttles": NO_THROTTLES},
            **self._changed,
        }  # fmt: skip
        redis = "django.core.cache.backends.redis.RedisCache"
        return {
            "OBC_AI": obc_ai,
            "CACHES": {"default": {"BACKEND": redis, "LOCATION": self.redis.url}},
            "ALLOWED_HOSTS": ["127.0.0.1"],
        }

    def configure(self, **changed: Any) -> None:
        """Write the settings for the processes to come."""
        self._changed = {**self._changed, **changed}
        facts = {
            "pool": {"min_size": 1, "max_size": self.pool, "timeout": 60},
            "apps": list(self._apps),
            "settings": self.settings(),
        }
        self.facts.write_text(json.dumps(facts), encoding="utf-8")

    def persons(self, count: int) -> list[str]:
        """Make so many users, log them in and return the keys of their sessions."""
        return make_persons(count)

    @contextmanager
    def served(self, *, program: tuple[str, ...] = ("-m", "uvicorn")) -> Iterator[int]:
        """Run uvicorn; the value is its port."""
        close_own_connections()
        port = free_port()
        command = [
            sys.executable, *program, "--factory", "django.core.asgi:get_asgi_application",
            "--host", "127.0.0.1", "--port", str(port), "--workers", str(self.workers),
            "--no-access-log", "--log-level", "warning", "--lifespan", "off",
        ]  # fmt: skip
        paths = os.pathsep.join([str(ROOT), *sys.path])
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise SystemExit("uvicorn did not end.") from None


def make_persons(count: int, backend: str | None = None) -> list[str]:
    """Make so many users, log them in and return the keys of their sessions.

    Args:
        count: How many.
        backend: Of authentication; None takes the first that knows users.
    """
    from django.contrib.auth import get_user_model
    from django.test import Client

    found = []
    for number in range(count):
        client = Client()
        client.force_login(get_user_model().objects.create_user(f"person{number}"), backend)
        found.append(client.cookies["sessionid"].value)
    return found


def all_rows(queryset: Any, user: Any) -> Any:
    """Hide nothing."""
    return queryset


def close_own_connections() -> None:
    """Close those of this process, its pools' included."""
    from django.db import connections
    from django.db.backends.postgresql.base import DatabaseWrapper

    connections.close_all()
    pools = DatabaseWrapper._connection_pools
    while pools:
        pools.popitem()[1].close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit("uvicorn has ended.")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("uvicorn does not answer.")


class Sampler:
    """Counts the connections to the database while something runs.

    Attributes:
        most: Open ones.
        most_idle_in_transaction: Those whose transaction is open while they do nothing.
        samples: How often it has looked.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._over = threading.Event()
        self.most = self.most_idle_in_transaction = self.samples = 0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        import psycopg

        query = (
            "SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in transaction%')"
            " FROM pg_stat_activity WHERE datname = 'test' AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._over.wait(0.05):
                row = connection.execute(query).fetchone()
                assert row is not None
                self.most = max(self.most, row[0])
                self.most_idle_in_transaction = max(self.most_idle_in_transaction, row[1])
                self.samples += 1
