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

UNREAD = (
    "the units write to the journal, which the site's user may not read: add it to the group"
    " systemd-journal, or look at journalctl -u 'obc-site-*'"
)
_SERVICES = ("web", "streams", "worker", "beat")
_SHOWN = "Id,LoadState,ActiveState,UnitFileState,WorkingDirectory"
#: What Debian calls the services that are the machine's own.
_UNITS = {"redis": "redis-server", "postgres": "postgresql", "nginx": "nginx"}


def supervisor_conf(context: Context) -> Path:
    """Return the file that supervisord was started with."""
    given = os.environ.get("OBC_SITE_SUPERVISOR_CONF")
    return Path(given) if given else context.home / "conf" / "supervisord.conf"


def is_supervised(context: Context) -> bool:
    """Does supervisord run the site, or did it?"""
    return (context.home / "run" / "supervisor.sock").exists()


def units(context: Context) -> dict[str, str]:
    """Return the state of systemd's units of this installation that are to run here."""
    if not Path("/run/systemd/system").is_dir():
        return {}
    names = [f"obc-site-{name}.service" for name in _SERVICES]
    said = _asked("systemctl", "show", f"--property={_SHOWN}", *names)
    return read_units(said.stdout if said else "", context.home)


def read_units(text: str, home: Path) -> dict[str, str]:
    """Read what `systemctl show` says: of units that are there, for this folder, and not off."""
    found = {}
    for block in text.split("\n\n"):
        told = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        is_off = (told.get("UnitFileState"), told.get("ActiveState")) == ("disabled", "inactive")
        is_here = told.get("LoadState") == "loaded" and told.get("WorkingDirectory") == str(home)
        if is_here and not is_off:
            found[told["Id"].removesuffix(".service")] = told["ActiveState"]
    return found


def runs_here(context: Context, name: str) -> bool:
    """Is a program to run on this host, as far as supervisord or systemd knows?"""
    if is_supervised(context) and f"[program:{name}]" in _configured(context):
        return True
    return f"obc-site-{name}" in units(context)


def journal(context: Context, since: float) -> str | None:
    """Return what the units wrote since then; None if that may not be read."""
    if is_supervised(context) or not units(context):
        return ""
    said = _asked(
        "journalctl", "--unit=obc-site-*", f"--since=@{int(since)}", "--output=cat", "--no-pager"
    )
    if said is None or said.returncode or "not seeing messages" in said.stderr:
        return None
    return said.stdout


def _asked(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Return what a program of the system says; None if there is none."""
    try:
        return subprocess.run(  # noqa: S603 - the words are this module's
            command, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


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
