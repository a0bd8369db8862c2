"""The site's database, before its tables are there: reached, made, looked at.

python -m deploy.install.database wait            until PostgreSQL and Redis answer
python -m deploy.install.database own PORT        the trial's role and database, through its socket
python -m deploy.install.database make            a database that is not there, on somebody's server
python -m deploy.install.database state           migrations that wait, and whether there is data

The last line of the output is JSON. It runs in the environment of the release that is installed.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import time
from pathlib import Path
from typing import Any

from deploy.backups.problems import Problem, run

SECONDS = 60.0
#: Where nobody has data of their own: Django fills these tables by itself.
_FILLED_BY_DJANGO = {"auth.permission", "contenttypes.contenttype", "sessions.session"}


def wait(seconds: float) -> list[str]:
    """Wait until Redis and the database's server answer; return what should be known of Redis."""
    _wait_for(_redis_fault, "Redis (REDIS_URL)", seconds)
    _wait_for(_server_fault, "The database (DATABASE_URL)", seconds)
    return _policy()


def _wait_for(fault: Any, what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while told := fault():
        if time.monotonic() > end:
            raise Problem(f"{what} does not answer: {told}")
        time.sleep(0.5)


def _client() -> Any:
    import redis
    from django.conf import settings

    url = settings.OBC_AI["COST_STORES"]["default"]["OPTIONS"]["url"]
    return redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5)


def _redis_fault() -> str:
    import redis

    try:
        _client().ping()
    except redis.exceptions.AuthenticationError:
        raise Problem("Redis refuses the password of REDIS_URL: correct it in .env.") from None
    except redis.exceptions.RedisError as error:
        return str(error)
    return ""


def _policy() -> list[str]:
    import redis

    try:
        found = _client().config_get("maxmemory-policy").get("maxmemory-policy")
    except redis.exceptions.RedisError:
        return []  # managed ones do not tell
    if found in (None, "noeviction"):
        return []
    return [f"Redis may throw costs away: its maxmemory-policy is {found}, not noeviction"]


def _connection() -> Any:
    from django.db import connections

    return connections["default"]


def _server_fault() -> str:
    """Say why the server cannot be reached; a wrong password is told later, when it is used."""
    import socket

    settings = _connection().settings_dict
    if _connection().vendor != "postgresql" or not (host := settings["HOST"]) or host[0] == "/":
        return ""
    try:
        with socket.create_connection((host, int(settings["PORT"] or 5432)), timeout=5):
            return ""
    except OSError as error:
        return f"{host}:{settings['PORT'] or 5432}: {error}"


def own(home: Path, port: str) -> list[str]:
    """Make the role and the database that DATABASE_URL names, on the trial's own server."""
    import psycopg
    from psycopg import sql

    settings = _connection().settings_dict
    name, role, password = settings["NAME"], settings["USER"], settings["PASSWORD"]
    admin = {"host": str(home / "run"), "port": port, "user": getpass.getuser()}
    told = []
    end = time.monotonic() + SECONDS
    while True:
        try:
            connection = psycopg.connect(**admin, dbname="postgres", autocommit=True)
            break
        except psycopg.OperationalError as error:
            if time.monotonic() > end:
                raise Problem(f"PostgreSQL of this installation: {error}") from None
            time.sleep(0.5)  # it starts
    with connection, connection.cursor() as cursor:
        # Sent as the verifier that the server keeps: no log can hold the password.
        verifier = connection.pgconn.encrypt_password(
            password.encode(), role.encode(), b"scram-sha-256"
        ).decode()
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
        if cursor.fetchone() is None:
            make = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
            cursor.execute(make.format(sql.Identifier(role), sql.Literal(verifier)))
            told.append(f"made role {role}")
        elif not _lets_in(settings):
            change = sql.SQL("ALTER ROLE {} LOGIN CREATEDB PASSWORD {}")
            cursor.execute(change.format(sql.Identifier(role), sql.Literal(verifier)))
            told.append(f"role {role} has the password of DATABASE_URL again")
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if cursor.fetchone() is None:
            make = sql.SQL("CREATE DATABASE {} OWNER {}")
            cursor.execute(make.format(sql.Identifier(name), sql.Identifier(role)))
            told.append(f"made database {name}")
    return told


def _lets_in(settings: dict[str, Any]) -> bool:
    import psycopg

    given = {"host": settings["HOST"], "port": settings["PORT"], "user": settings["USER"]}
    try:
        psycopg.connect(**given, password=settings["PASSWORD"], dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def make() -> list[str]:
    """Make the database where somebody's server has none of that name; SQLite needs nothing."""
    from deploy.backups.postgres import Server, createdb

    connection = _connection()
    if connection.vendor != "postgresql":
        return []
    server = Server(connection.settings_dict)
    try:
        with server.connection(server.name) as wrapper, wrapper.cursor() as cursor:
            cursor.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            )
            may_create = cursor.fetchone()[0]
        return [] if may_create else [f"note: db_restore.sh needs {createdb(server.settings)}"]
    except Problem as problem:
        if "does not exist" not in str(problem) or f'"{server.name}"' not in str(problem):
            raise Problem(f"{problem}. {_advice(connection.settings_dict)}") from None
    try:
        server.create(server.name, {"ENCODING": "UTF8"})
    except Problem as problem:
        raise Problem(f"{problem}. {_advice(connection.settings_dict)}") from None
    return [f"made database {server.name}"]


def _advice(settings: dict[str, Any]) -> str:
    role, name = settings["USER"], settings["NAME"]
    return (
        "Whoever runs that server makes both: sudo -u postgres createuser --createdb --pwprompt"
        f" {role}; sudo -u postgres createdb --owner {role} {name}. Then DATABASE_URL in .env."
    )


def state() -> dict[str, Any]:
    """Return the migrations that wait, those that are applied, and whether there is data."""
    from django.apps import apps
    from django.db import Error
    from django.db.migrations.executor import MigrationExecutor

    connection = _connection()
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        tables = set(connection.introspection.table_names())
        models = (
            each for each in apps.get_models() if each._meta.label_lower not in _FILLED_BY_DJANGO
        )
        has_data = any(
            model._base_manager.exists()
            for model in models
            if model._meta.managed and model._meta.db_table in tables
        )
    except Error as error:
        raise Problem(f"The database cannot be read: {str(error).strip()}") from None
    loader = executor.loader
    known = set(loader.disk_migrations)
    for migration in loader.disk_migrations.values():
        known.update(migration.replaces)  # those squashed into it
    unknown = [
        f"{app}.{name}"
        for app, name in loader.applied_migrations
        if app in loader.migrated_apps and (app, name) not in known
    ]
    waiting = [f"{each.app_label}.{each.name}" for each, _ in plan]
    return {"waiting": waiting, "unknown": sorted(unknown), "has_data": has_data}


def main() -> None:
    """See the module."""
    import django

    parser = argparse.ArgumentParser(prog="deploy.install.database")
    parser.add_argument("what", choices=("wait", "own", "make", "state"))
    parser.add_argument("port", nargs="?")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    django.setup()
    told: Any
    if given.what == "wait":
        told = wait(given.seconds)
    elif given.what == "own":
        told = own(Path(os.environ["OBC_SITE_VAR"]), given.port)
    elif given.what == "make":
        told = make()
    else:
        told = state()
    print(json.dumps(told))


if __name__ == "__main__":
    run(main)
