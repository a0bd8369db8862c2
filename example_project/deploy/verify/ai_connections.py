"""The check of how many connections PostgreSQL lets the site's processes open."""

from __future__ import annotations

import os
from collections.abc import Mapping

from deploy import env
from deploy.verify.ai_site import suite
from deploy.verify.checks import Failed, Skipped
from deploy.verify.context import Context

#: Connections of beat, of the work of the night, and two of the verification.
_OTHERS = 4


@suite.check("connections", "Has PostgreSQL room for all that the site can open?",
             needs=("database",))  # fmt: skip
def connections(context: Context) -> str:
    """Compare its limit with what render.conf's processes and threads can open."""
    from django.db import connection

    if connection.vendor != "postgresql":
        raise Skipped(f"{connection.display_name} has no limit of connections")
    with connection.cursor() as cursor:
        cursor.execute("SELECT inet_server_port()")
        port = cursor.fetchone()[0]
        cursor.execute(
            "SELECT sum(CASE name WHEN 'max_connections' THEN 1 ELSE -1 END * setting::int),"
            " max(setting::int) FROM pg_settings WHERE name IN"
            " ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"
        )
        free, limit = map(int, cursor.fetchone())
    asked = int(connection.settings_dict["PORT"] or 5432)
    if port is not None and port != asked:
        raise Skipped(
            f"PostgreSQL listens at port {port}, and is asked at {asked}: a pooler in between"
            " shares its connections out"
        )
    needed = most_connections(context.values)
    if needed > free:
        raise Failed(
            f"the site can open {needed} connections, and max_connections = {limit} of PostgreSQL"
            f" leaves {free}: set max_connections = {needed + limit - free} or more and restart"
            " it, or render fewer web_workers, web_threads or stream_workers"
        )
    return f"{needed} at most, of {free}"


def most_connections(values: Mapping[str, str]) -> int:
    """Return how many connections the processes can keep, with beat, night and verification."""
    pool = int(os.environ.get("OBC_SITE_POOL") or env.POOL)
    web, streams, workers = (
        int(values[name]) for name in ("web_workers", "stream_workers", "worker_processes")
    )
    return web * int(values["web_threads"]) + pool * streams + workers + 1 + _OTHERS
