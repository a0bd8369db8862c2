"""Random plans against the guard of chat, on SQLite and on PostgreSQL at once.

Half of the plans are valid: each must be accepted, give exactly the rows of the same query
written by hand in Django's ORM under the user's scope, and run SELECTs alone (beside savepoint
and time limit) that name no undeclared column. The other half was valid and then spoilt in one
place: each must be refused before any statement is sent. Hypothesis draws them;
`tests/chat/plans.py` says from what.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.servers.new_database import use_database

KINDS = ("sqlite", "postgres")
ALLOWED = ("SELECT", "SAVEPOINT", "ROLLBACK", "RELEASE", "BEGIN")


def prepare(kind: str, stack: ExitStack) -> Any:
    """Return a user who may ask about a database's rows, which are stored."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    use_database(kind, folder, stack)
    import django

    django.setup()
    from django.conf import settings
    from django.contrib.auth.models import Permission, User
    from django.core.management import call_command
    from django.db import connections

    from tests.chat.conftest import DECLARED
    from tests.chat.plans import make_places

    settings.OBC_AI = {"CHAT": {"models": DECLARED}}
    call_command("migrate", run_syncdb=True, verbosity=0)
    stack.callback(connections.close_all)
    user = User.objects.create_user("asker")
    names = ["view_place", "view_user"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    make_places(user)
    user = User.objects.get(pk=user.pk)
    user.has_perm("testapp.view_place")  # permissions are read once
    return user


def fuzz(kind: str, count: int, seed: int, stack: ExitStack) -> dict[str, int]:
    """Check so many plans, half of them valid; return what was seen.

    Raises:
        AssertionError: A plan was not treated as it must be.
    """
    user = prepare(kind, stack)
    from django.db import connection, reset_queries
    from django.test.utils import CaptureQueriesContext
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as seeded

    from django_obc_ai.chat.query import run
    from django_obc_ai.exceptions import DangerousQuery
    from tests.chat.plans import UNDECLARED, by_hand, spoilt_plans, valid_plans

    seen = {"accepted": 0, "refused": 0, "statements": 0, "rows": 0}
    options = settings(
        max_examples=count // 2,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    def statements(plan: dict[str, Any], *, is_valid: bool) -> list[str]:
        reset_queries()  # a full log would leave every capture empty
        result = None
        with CaptureQueriesContext(connection) as captured:
            try:
                result = run(plan, user=user)
            except DangerousQuery:
                assert not is_valid, plan
        if is_valid:
            assert result is not None and list(result.rows) == by_hand(plan, user), plan
            seen["rows"] += len(result.rows)
        else:
            assert result is None, plan
        return [each["sql"] for each in captured.captured_queries]

    @seeded(seed)
    @options
    @given(plan=valid_plans())
    def accepted(plan: dict[str, Any]) -> None:
        found = statements(plan, is_valid=True)
        assert len(found) >= 3, plan
        for sql in found:
            assert sql.startswith(ALLOWED), sql
            assert not any(f'"{name}"' in sql for name in UNDECLARED), sql
        seen["accepted"] += 1
        seen["statements"] += len(found)

    @seeded(seed)
    @options
    @given(plan=spoilt_plans())
    def refused(plan: dict[str, Any]) -> None:
        assert statements(plan, is_valid=False) == [], plan
        seen["refused"] += 1

    accepted()
    refused()
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    count = 1_000 if options.small else 25_000
    if options.only:
        with ExitStack() as stack:
            found = fuzz(options.only, count, options.seed, stack)
        Path(options.out).write_text(json.dumps(found), encoding="utf-8")
        return
    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        small = ["--small"] if options.small else []
        shards = {}
        for at, kind in enumerate(KINDS):  # a process of its own for each database
            command = [sys.executable, __file__, "--only", kind, "--out", f"{folder}/{kind}"]
            shards[kind] = subprocess.Popen([*command, *small, "--seed", str(options.seed + at)])
        failed = [kind for kind, shard in shards.items() if shard.wait()]
        if failed:
            raise SystemExit(f"Failed on {', '.join(failed)}.")
        for kind in KINDS:
            seen = json.loads(Path(folder, kind).read_text(encoding="utf-8"))
            rows.append(
                f"| {kind} | {seen['accepted'] + seen['refused']:,} | {seen['accepted']:,} |"
                f" {seen['refused']:,} | {seen['statements']:,} | {seen['rows']:,} |"
            )
    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores,"
        f" {time.monotonic() - began:.0f} s, seed {options.seed}."
        " Command: `./tests/acceptance/run.sh chat_fuzz`"
    )
    head = "| database | plans | accepted, each equal | refused, without a statement |"
    head += " statements checked | rows compared |\n" + "|---" * 6 + "|"
    lines = ["# Random plans", "", (__doc__ or "").strip(), "", facts, "", head, *rows, ""]
    Path(options.out).write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
