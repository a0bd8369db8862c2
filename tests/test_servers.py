"""The servers that other tests rely on are real and end with the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import valkey
from django.contrib.auth import get_user_model
from django.db import connections

from tests.servers.postgres import DURABLE, PostgresServer, run_postgres
from tests.servers.valkey import RedisServer, run_redis
from tests.testapp.models import CompositeThing, Place

START_BOTH = """
import sys
from tests.servers.postgres import run_postgres
from tests.servers.valkey import run_redis
with run_redis() as redis, run_postgres() as postgres:
    print(redis.pid, redis.supervised.folder, postgres.pid, postgres.supervised.folder, flush=True)
    sys.stdin.read()
"""


def _eventually(claim: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _is_gone(pid: int) -> bool:
    try:
        # A process nobody has waited for yet has ended all the same.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_redis_server_keeps_values_and_runs_scripts(redis_server: RedisServer) -> None:
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.set("greeting", "salaam")
        assert client.get("greeting") == b"salaam"
        script = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
        assert client.eval(script, 1, "total", 41) == 41
        assert client.eval(script, 1, "total", 1) == 42


def test_redis_server_is_empty_for_each_test(redis_server: RedisServer) -> None:
    with valkey.Valkey.from_url(redis_server.url) as client:
        assert client.dbsize() == 0


def test_two_redis_servers_run_side_by_side(redis_server: RedisServer) -> None:
    with run_redis() as other:
        assert other.port != redis_server.port
        pid = other.pid
    assert _is_gone(pid)


def test_redis_server_that_keeps_its_data_has_it_again_after_a_kill(tmp_path: Path) -> None:
    with run_redis(kept_in=tmp_path) as server:
        with valkey.Valkey.from_url(server.url) as client:
            client.set("greeting", "salaam")
        os.kill(server.pid, signal.SIGKILL)
    with run_redis(server.port, kept_in=tmp_path) as again:
        with valkey.Valkey.from_url(again.url) as client:
            assert client.get("greeting") == b"salaam"


def test_postgres_server_takes_other_settings() -> None:
    with run_postgres(**DURABLE, max_connections="20") as server:
        with psycopg.connect(server.dsn) as connection:
            found = [
                connection.execute(f"SHOW {n}").fetchone() for n in (*DURABLE, "max_connections")
            ]
    assert found == [("on",), ("on",), ("on",), ("20",)]


def test_postgres_server_has_pgvector(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        row = connection.execute("SELECT '[3,4]'::vector <-> '[0,0]'::vector").fetchone()
        assert row == (5.0,)


@pytest.mark.django_db(databases=["default", "postgres"])
def test_postgres_alias_is_migrated_and_separate_from_the_default(postgres_alias: str) -> None:
    assert connections[postgres_alias].vendor == "postgresql"
    get_user_model().objects.db_manager(postgres_alias).create_user("amina")
    Place.objects.using(postgres_alias).create(name="Cotabato City")
    CompositeThing.objects.using(postgres_alias).create(region="BARMM", number=1)
    assert Place.objects.using(postgres_alias).count() == 1
    assert Place.objects.using("default").count() == 0


@pytest.mark.django_db(databases=["default", "postgres"])
def test_postgres_alias_is_rolled_back_after_each_test(postgres_alias: str) -> None:
    assert not Place.objects.using(postgres_alias).exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None])
def test_servers_end_with_the_process_that_started_them(how: signal.Signals | None) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", START_BOTH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        redis_pid, redis_folder, postgres_pid, postgres_folder = process.stdout.readline().split()
        assert not _is_gone(int(redis_pid))
        if how is not None:
            os.kill(process.pid, how)
        process.stdin.close()
    assert _eventually(lambda: _is_gone(int(redis_pid)) and _is_gone(int(postgres_pid)))
    assert _eventually(
        lambda: not Path(redis_folder).exists() and not Path(postgres_folder).exists()
    )


def test_server_ends_when_its_supervisor_is_killed() -> None:
    with run_redis() as server:
        os.kill(server.supervised.process.pid, signal.SIGKILL)
        assert _eventually(lambda: _is_gone(server.pid))
    # Nobody was left to remove the folder.
    subprocess.run(["rm", "-rf", str(server.supervised.folder)], check=True)
