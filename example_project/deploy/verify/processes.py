"""The site's processes: what supervisord says of them, and what to do about one that is away."""

from __future__ import annotations

import http.client
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from deploy.live import SocketConnection
from deploy.verify.checks import Failed, Skipped
from deploy.verify.context import Context

#: What Debian calls the services that are the machine's own.
_UNITS = {"redis": "redis-server", "postgres": "postgresql", "nginx": "nginx"}


def supervisor_conf(context: Context) -> Path:
    """Return the file that supervisord was started with."""
    given = os.environ.get("OBC_SITE_SUPERVISOR_CONF")
    return Path(given) if given else context.home / "conf" / "supervisord.conf"


def is_supervised(context: Context) -> bool:
    """Does supervisord run the site, or did it?"""
    return (context.home / "run" / "supervisor.sock").exists()


def how_to_start(context: Context, name: str) -> str:
    """Say where a program's words are, and how it is started."""
    if is_supervised(context) and f"[program:{name}]" in _configured(context):
        log = context.home / "log" / f"{name}.log"
        beside = Path(sys.executable).parent / "supervisorctl"
        program = beside if beside.exists() else "supervisorctl"
        return f"Look at {log}; start it: {program} -c {supervisor_conf(context)} start {name}"
    unit = _UNITS.get(name, f"obc-site-{name}")
    return f"Look at its log, and start it: systemctl status {unit}"


def _configured(context: Context) -> str:
    """Return what supervisord was told to run."""
    paths = (supervisor_conf(context), context.home / "conf" / "services.conf")
    found = [path.read_text(encoding="utf-8", errors="replace") for path in paths if path.is_file()]
    return "\n".join(found)


def supervised(context: Context) -> dict[str, str]:
    """Return each program's state by its name.

    Raises:
        Skipped: Something else runs the site.
        Failed: supervisord has died.
    """
    conf = supervisor_conf(context)
    if not is_supervised(context) or not conf.is_file():
        raise Skipped(
            f"no supervisord runs for {context.home}; systemd or another looks after them"
        )
    if importlib.util.find_spec("supervisor") is None:
        raise Failed("supervisor is not installed for this Python: run it with the site's own")
    command = [sys.executable, "-P", "-m", "supervisor.supervisorctl", "-c", str(conf), "status"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(  # noqa: S603 - of this Python
        command, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    found = {line[0]: line[1] for line in lines if len(line) > 1 and line[1].isupper()}
    if not found:
        told = " ".join((done.stdout + done.stderr).split())[-300:]
        raise Failed(f"supervisord does not answer ({told}): start it with -c {conf}")
    return found


def ask_socket(context: Context, name: str, path: str) -> int | None:
    """Return how a server answers at its socket, past nginx; None if it has none here.

    Raises:
        Failed: Nobody listens there.
    """
    place = context.home / "run" / f"{name}.sock"
    if not place.exists():
        return None
    connection = SocketConnection(place, context.address.host)
    try:
        connection.request("GET", path, headers={"X-Forwarded-Proto": "https"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Failed(
            f"{name} does not answer at {place} ({error}): {how_to_start(context, name)}"
        ) from None
    finally:
        connection.close()
