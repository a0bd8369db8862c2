"""What an installation is going to be, found out before anything is changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy import env, render
from deploy.backups.problems import Problem
from deploy.dotenv import read_file
from deploy.install import certificate, env_file, machine, services

LOOPBACK = {"localhost", "127.0.0.1"}
PORTS = {"http_port": "8080", "https_port": "8443"}


class Misused(Problem):
    """The command line, or what it is called with, asks for what cannot be."""

    code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    home: Path
    source: Path
    hosts: str = ""
    changed: Mapping[str, str] = field(default_factory=dict)
    keep_releases: int = 5
    venv: Path | None = None
    is_dry: bool = False
    is_sure: bool = False
    skips_database: bool = False
    starts: bool = True
    verifies: bool = True


@dataclass(slots=True, kw_only=True)
class Decision:
    """Settings of the site, and values of its files.

    Attributes:
        settings: The variables of .env, made or read.
        is_new: Whether .env has to be made.
        changed: What render.conf keeps.
        values: All values of render.py.
        notes: What the operator should know.
    """

    settings: dict[str, str]
    is_new: bool
    changed: dict[str, str]
    values: dict[str, str]
    notes: list[str]

    @property
    def runs_postgres(self) -> bool:
        """Is PostgreSQL the installation's own?"""
        return bool(self.values["postgres"])

    @property
    def runs_redis(self) -> bool:
        """Is Redis the installation's own?"""
        return bool(self.values["redis"])

    @property
    def origin(self) -> str:
        """Where people open the site."""
        return f"https://{self.values['host']}{self.values['port_suffix']}/"

    def database(self) -> str:
        """Say what the database is."""
        if self.runs_postgres:
            return f"PostgreSQL of its own, 127.0.0.1:{self.values['postgres_port']}"
        url = self.settings.get("DATABASE_URL", "")
        return "PostgreSQL of DATABASE_URL" if url.startswith("postgres") else "SQLite, a file"

    def redis(self) -> str:
        """Say what Redis is."""
        if self.runs_redis:
            return f"of its own, 127.0.0.1:{self.values['redis_port']}"
        return "that of REDIS_URL"

    def answers(self) -> str:
        """Say who answers."""
        if self.settings.get("GOOGLE_API_KEY"):
            return "Gemini, within the budgets of .env"
        return "OFFLINE PROVIDER, no GOOGLE_API_KEY: quotes what it finds, costs nothing"


def settings_so_far(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what .env says; where there is none, what it would take from the environment."""
    path = home / ".env"
    if not path.exists():
        return env_file.given(environ)
    found, faults = read_file(path)
    if faults:
        raise Problem("\n   ".join(faults))
    return found


def decide(options: Options, environ: Mapping[str, str]) -> Decision:
    """Find out what is going to be.

    Raises:
        Problem: What is configured cannot be deployed with; nothing was changed.
    """
    home, is_new = options.home, not (options.home / ".env").exists()
    found = settings_so_far(home, environ)
    if options.skips_database and not found.get("DATABASE_URL"):
        raise Misused("--skip-database needs a DATABASE_URL, in .env or in the environment.")
    if bin_folder := found.get("OBC_SITE_PG_BIN"):
        os.environ.setdefault("OBC_SITE_PG_BIN", bin_folder)
    kept = _kept(home)
    changed = {**PORTS, **kept, **options.changed}
    notes: list[str] = []
    _choose_hosts(options, found, changed, kept, notes)
    if not os.access(changed.get("nginx", ""), os.X_OK):
        changed["nginx"] = machine.find("nginx") or "nginx"
    if is_new:
        _choose_services(home, found, changed, notes)
        port = changed.get("public_port") or changed["https_port"]
        settings = env_file.make(
            environ,
            hosts=changed["hosts"].split(","),
            port=port,
            database=_own(services.postgres_url, changed, "postgres"),
            redis=_own(services.redis_url, changed, "redis"),
        )
    else:
        settings = found
        _look_at_services(home, settings, changed, notes)
        notes += [
            f"{name} in the environment is not that of .env, which is what counts"
            for name, value in env_file.given(environ).items()
            if settings.get(name, "") != value
        ]
    try:
        values = render.values(str(home), render.HOSTS, changed)
    except render.CannotRender as error:
        raise Misused(str(error)) from None
    _check(home, settings, changed["hosts"].split(","))
    named = (Path(values["certificate"]), Path(values["certificate_key"]))
    certificate.see_readable(home, *named)
    return Decision(settings=settings, is_new=is_new, changed=changed, values=values, notes=notes)


def _kept(home: Path) -> dict[str, str]:
    try:
        return render.kept(home)
    except render.CannotRender as error:
        raise Problem(str(error)) from None


def _own(url: Callable[[str], str], changed: Mapping[str, str], name: str) -> str:
    return url(changed[f"{name}_port"]) if changed.get(name) else ""


def _choose_hosts(
    options: Options,
    found: Mapping[str, str],
    changed: dict[str, str],
    kept: Mapping[str, str],
    notes: list[str],
) -> None:
    listed = (
        options.hosts or kept.get("hosts") or found.get("ALLOWED_HOSTS") or ",".join(render.HOSTS)
    )
    hosts = [each.strip() for each in listed.split(",") if each.strip()]
    if wide := [each for each in hosts if each[0] == "."]:
        notes.append(f"nginx serves {', '.join(wide)} without the dot alone; --host names others")
    usable = [each.removeprefix(".") for each in hosts if not each.startswith("[")]
    changed["hosts"] = ",".join(dict.fromkeys(usable or render.HOSTS))
    if set(usable) <= LOOPBACK:
        changed.setdefault("address", "127.0.0.1")
    elif (
        kept.get("address") == "127.0.0.1"
        and "address" not in options.changed
        and set(kept.get("hosts", "").split(",")) <= LOOPBACK
    ):
        del changed["address"]  # it was chosen here, for names of this machine alone


def _choose_services(
    home: Path, found: Mapping[str, str], changed: dict[str, str], notes: list[str]
) -> None:
    """Choose what a trial runs, and where; what the first run has chosen stays."""
    changed.pop("postgres", None)
    changed.pop("redis", None)
    if not found.get("DATABASE_URL"):
        if program := services.postgres_program(home):
            changed["postgres"] = program
            changed.setdefault("postgres_port", str(machine.free_port(15432)))
        else:
            notes.append(
                "no PostgreSQL is installed, so the database is SQLite, for one machine and few"
                f" people ({machine.apt_line(['postgresql'])})"
            )
    if not found.get("REDIS_URL") and (program := machine.find(*machine.REDIS)):
        changed["redis"] = program
        changed.setdefault("redis_port", str(machine.free_port(16379)))


def _look_at_services(
    home: Path, settings: Mapping[str, str], changed: dict[str, str], notes: list[str]
) -> None:
    """See whether the trial's servers are still what .env leads to."""
    for name, variable in (("postgres", "DATABASE_URL"), ("redis", "REDIS_URL")):
        if not changed.get(name):
            continue
        if not services.leads_here(settings.get(variable), changed.get(f"{name}_port", "")):
            del changed[name]
            notes.append(
                f"{variable} leads elsewhere: what is in {home / name} is not run any more"
            )
        elif name == "postgres":
            changed[name] = services.postgres_program(home) or changed[name]
        elif not os.access(changed[name], os.X_OK):
            changed[name] = machine.find(*machine.REDIS) or changed[name]


def _check(home: Path, settings: Mapping[str, str], hosts: Sequence[str]) -> None:
    """See that the site could start with these settings.

    Raises:
        Problem: It could not; all that is wrong is in the message.
    """
    with tempfile.TemporaryDirectory() as folder:  # what is read makes its folder
        where = str(home) if home.exists() else folder
        try:
            deployment = env.load({"OBC_SITE_VAR": where, **settings})
        except env.NotConfigured as error:
            raise Problem(str(error).replace(folder, str(home))) from None
    lacking = [
        host
        for host in hosts
        if not any(
            host == each.lower() or (each[0] == "." and (host == each[1:] or host.endswith(each)))
            for each in deployment.allowed_hosts
        )
    ]
    if lacking:
        listed = ",".join([*deployment.allowed_hosts, *lacking])
        raise Problem(
            f"ALLOWED_HOSTS in {home / '.env'} does not allow {', '.join(lacking)}. Write there"
            f" ALLOWED_HOSTS={listed} and add https://{lacking[0]} to CSRF_TRUSTED_ORIGINS."
        )
