"""Fixtures for the servers. A server starts with the first test that asks for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connections
from pytest_django import DjangoDbBlocker

from tests.servers.chat_completions import ChatCompletionsServer, run_chat_completions
from tests.servers.databases import sqlite_settings
from tests.servers.gemini import GeminiServer, RemoteGemini, run_gemini, run_gemini_process
from tests.servers.launch import make_folder
from tests.servers.postgres import PostgresServer, run_postgres
from tests.servers.valkey import RedisServer, run_redis


@pytest.fixture(scope="session")
def redis_session_server() -> Iterator[RedisServer]:
    """One Redis-protocol server for the session. Tests use `redis_server`.

    The server brings a client of its own; our backends ask it through redis-py.
    """
    pytest.importorskip("redis", reason="needs the extra 'redis'")
    with run_redis() as server:
        yield server


@pytest.fixture
def redis_server(redis_session_server: RedisServer) -> RedisServer:
    """A real Redis-protocol server, empty at the start of each test: `redis_server.url`."""
    import valkey

    with valkey.Valkey.from_url(redis_session_server.url) as client:
        client.flushall()
    return redis_session_server


@pytest.fixture
def gemini_server() -> Iterator[GeminiServer]:
    """A loopback server of the Gemini API, in threads of this process: see its package.

    Each test has its own. It starts within milliseconds, and the threads of one for the session
    would make every later test that forks warn of them.
    """
    with run_gemini() as server:
        yield server


@pytest.fixture
def chat_completions_server() -> Iterator[ChatCompletionsServer]:
    """A loopback server of OpenAI's protocol, in threads of this process."""
    with run_chat_completions() as server:
        yield server


@pytest.fixture(scope="session")
def gemini_session_process() -> Iterator[RemoteGemini]:
    """One server of the Gemini API in another process. Tests use `gemini_process`."""
    with run_gemini_process() as server:
        yield server


@pytest.fixture
def gemini_process(gemini_session_process: RemoteGemini) -> RemoteGemini:
    """The same as `gemini_server`, in a process of its own, for tests that fork."""
    gemini_session_process.reset()
    return gemini_session_process


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL with pgvector for the session: `postgres_server.dsn`, `.settings(name)`."""
    with run_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request: pytest.FixtureRequest) -> Iterator[None]:
    """Say where the test database is, before pytest-django creates it."""
    default = connections.databases["default"]
    folder = make_folder("obc-test-")
    os.environ["OBC_AI_TEST_BASE_DIR"] = settings.BASE_DIR = str(folder)
    if os.environ.get("OBC_AI_TEST_DATABASE") == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        default["HOST"] = os.environ["OBC_AI_TEST_POSTGRES_HOST"] = server.host
        yield
        shutil.rmtree(folder, ignore_errors=True)
        return
    # A file, not memory: threads and processes share it as they do in a real project.
    os.environ["OBC_AI_TEST_SQLITE"] = str(folder / "test.sqlite3")
    place = sqlite_settings(folder / "test.sqlite3")
    default["NAME"] = place["NAME"]
    default["TEST"].update(place["TEST"])
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_alias(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, postgres_server: PostgresServer
) -> Iterator[str]:
    """The database alias "postgres", migrated, on a real PostgreSQL.

    A test that uses it also says so to pytest-django:

        @pytest.mark.django_db(databases=["default", "postgres"])
        def test_something(postgres_alias): ...
    """
    entries = {"default": {}, "postgres": postgres_server.settings("alias")}
    connections.databases["postgres"] = connections.configure_settings(entries)["postgres"]
    connection = connections["postgres"]
    with django_db_blocker.unblock():
        connection.creation.create_test_db(verbosity=0, autoclobber=True)
    yield "postgres"
    with django_db_blocker.unblock():
        connection.close()
    del connections["postgres"]
    del connections.databases["postgres"]
