"""What both verifications start from: command line, deployment, where the site is, its logs.

    python -m deploy.verify.ai [--connect ADDRESS] [--only ID ...] [--json FILE] [--list]

The installation folder is OBC_SITE_VAR. Exit codes: 0 no check failed, 1 one did, 2 called wrongly,
3 refused.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy import env, render
from deploy.verify import checks, ending
from deploy.verify.checks import Failed, Report, Suite
from deploy.verify.people import Verifier, let_in
from deploy.verify.site import Address, Visitor

REFUSED = 3


@dataclass(slots=True)
class Logs:
    """What the processes of the site write from now on, in the folder's files.

    Attributes:
        folder: The installation's log folder.
        began: How long each file was when it was first seen.
        at: When that was, in seconds since 1970.
    """

    folder: Path
    began: dict[str, int] = field(default_factory=dict)
    at: float = field(default_factory=time.time)

    @classmethod
    def now(cls, folder: Path) -> Logs:
        """Note where each file ends."""
        found = folder.glob("*.log") if folder.is_dir() else ()
        return cls(folder, {path.name: path.stat().st_size for path in found})

    def since(self) -> dict[str, str]:
        """Return what came since, by the name of the file; one that was rotated is read whole."""
        found = {}
        for path in sorted(self.folder.glob("*.log")):
            start = self.began.get(path.name, 0)
            with path.open("rb") as file:
                file.seek(start if start <= path.stat().st_size else 0)
                text = file.read().decode("utf-8", errors="replace")
            if text:
                found[path.name] = text
        return found

    def before(self, name: str, most: int = 5_000_000) -> str:
        """Return the end of what a file held before, at most so many bytes of it."""
        end = self.began.get(name, 0)
        with (self.folder / name).open("rb") as file:
            file.seek(max(0, end - most))
            return file.read(min(end, most)).decode("utf-8", errors="replace")


@dataclass(slots=True)
class Context:
    """What checks are handed.

    Attributes:
        home: The installation folder.
        deployment: What is configured; None if that cannot be deployed with.
        fault: Why neither settings nor database can be used; "" if they can.
        address: Where the site is; also there if the settings are not.
        values: Those of `render.values`: ports and folders, above all.
        logs: What is written from the start of the verification on.
        stack: What has to be undone at the end, besides users.
        seen: For checks that build on what another one found.
    """

    home: Path
    deployment: env.Deployment | None
    fault: str
    address: Address
    values: Mapping[str, str]
    logs: Logs
    stack: ExitStack = field(default_factory=ExitStack)
    seen: dict[str, Any] = field(default_factory=dict)
    people: dict[str, Verifier] = field(default_factory=dict)
    visitors: dict[str, Visitor] = field(default_factory=dict)

    def configured(self) -> env.Deployment:
        """Return what is configured.

        Raises:
            Failed: It cannot be deployed with, or Django could not be set up.
        """
        if self.deployment is None or self.fault:
            raise Failed(self.fault)
        return self.deployment

    @staticmethod
    def token() -> str:
        """Return what no message held before, so that no cache answers it."""
        return secrets.token_hex(6)

    def person(self, name: str = "obc-verify", *, is_superuser: bool = False) -> Verifier:
        """Return a user who is let in until the verification ends."""
        if name not in self.people:
            self.people[name] = let_in(name, is_superuser=is_superuser, is_staff=True)
        return self.people[name]

    def visitor(self, name: str = "obc-verify", *, is_superuser: bool = False) -> Visitor:
        """Return somebody who has logged in as that user, once for all checks."""
        if name not in self.visitors:
            person = self.person(name, is_superuser=is_superuser)
            self.visitors[name] = person.visitor(self.address)
        return self.visitors[name]


def read_context(connect: str = "127.0.0.1") -> Context:
    """Read the deployment of OBC_SITE_VAR, and set Django up if it can be.

    Args:
        connect: The address that the site is asked at.
    """
    home = env.home_of(os.environ)
    logs = Logs.now(home / "log")  # before anything of ours is logged
    deployment, fault = None, ""
    try:
        deployment = env.load(os.environ)
    except env.NotConfigured as error:
        fault = _in_a_line(str(error))
    names = deployment.allowed_hosts if deployment else _listed(os.environ.get("ALLOWED_HOSTS", ""))
    host = own_host(names)
    try:
        values = render.values(str(home), [host], render.kept(home))
    except (render.CannotRender, OSError) as error:
        fault = fault or f"{home / 'render.conf'}: {error}"
        values = _usual_values(home)
    # A throwaway certificate is in the installation folder, signed by its own key.
    certificate = Path(values["certificate"])
    address = Address(
        host=host,
        port=int(values["https_port"]),
        http_port=int(values["http_port"]),
        connect=connect,
        own_certificate=certificate if certificate.parent == home / "tls" else None,
    )
    return Context(home, deployment, fault or _set_up(), address, values, logs)


def _usual_values(home: Path) -> dict[str, str]:
    """Return what is asked for where render.conf says nothing that can be used."""
    return {
        "https_port": "443",
        "http_port": "80",
        "certificate": str(home / "tls" / "cert.pem"),
        "static": str(home / "static"),
    }


def own_host(names: Sequence[str]) -> str:
    """Return the first name that a certificate can hold; an address if there is no name."""
    found = [name.strip("[]") for name in names if name and not name.startswith((".", "*"))]
    return next((name for name in found if not _is_address(name)), (*found, "localhost")[0])


def main(suite: Suite, arguments: Sequence[str] | None = None, *, with_score: bool = False) -> int:
    """Make the checks that the command line asks for, and return the exit code.

    Args:
        suite: The checks.
        arguments: The command line, without the program.
        with_score: Print ``score N`` before the counts.
    """
    parser = argparse.ArgumentParser(
        prog=f"verify_{suite.name}.sh", description=f"Ask the running site: {suite.name}."
    )
    parser.add_argument("--connect", default="127.0.0.1", metavar="ADDRESS", help="of the site")
    parser.add_argument("--only", nargs="+", default=[], metavar="ID", help="and what it needs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument("--list", action="store_true", help="print the checks, and end")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{each.id:<20} {each.title}" for each in suite.checks))
        return 0
    if unknown := set(options.only) - {each.id for each in suite.checks}:
        parser.error(f"there is no check {', '.join(sorted(unknown))}; --list names them")
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"--json: there is no folder {options.json.absolute().parent}")
    home = env.home_of(os.environ)
    if refusal := _refusal(home):
        print(f"error: {refusal}", file=sys.stderr)
        return REFUSED
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda number, _: sys.exit(128 + number))  # users go out
    context = read_context(options.connect)
    print(f"== {context.home}: {context.address.origin} at {context.address.connect}", flush=True)
    try:
        with nullcontext() if context.fault else ending.alone():
            report = _judge(suite, context, tuple(options.only), options.json)
    except ending.AnotherRuns as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    if with_score:
        print(f"score {report.score}")
    print(report.summary())
    return report.exit_code


def _judge(suite: Suite, context: Context, only: tuple[str, ...], path: Path | None) -> Report:
    """Make the checks, and let the users out, whatever happens; write the report to the file."""
    report = Report(suite.name)
    if not context.fault:
        ending.close_left_over()
    try:
        checks.run(suite, context, sys.stdout, only=only, report=report)
    finally:
        try:
            context.stack.close()
        except Exception as error:  # noqa: BLE001 - the report is told all the same
            report.add("end", checks.FAILED, f"{type(error).__name__}: {error}", sys.stdout)
        if told := ending.let_out(list(context.people)):
            report.add("end", checks.FAILED, told, sys.stdout)
        if path:
            report.write(path)
    return report


def _refusal(home: Path) -> str:
    """Say why the caller should be somebody else: what is written here belongs to the site."""
    folder = next((each for each in (home / "run", home) if each.is_dir()), None)
    if folder is None:
        return f"There is no installation folder {home}; name one with --home DIR."
    if (owner := folder.stat().st_uid) != os.geteuid():
        return (
            f"{folder} belongs to user {_name(owner)}, and this is {_name(os.geteuid())}: run it as"
            " the site's user, whose rights are what is verified."
        )
    return ""


def _name(user: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _set_up() -> str:
    """Set Django up; return why that failed, or ""."""
    try:
        import django
        from django.conf import settings

        settings.LOGGING_CONFIG = None  # what is logged here is not the site's
        logging.getLogger().addHandler(logging.NullHandler())
        django.setup()
    except Exception as error:  # noqa: BLE001 - whatever settings do
        module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
        return _in_a_line(f"{module} cannot be loaded: {type(error).__name__}: {error}")
    return ""


def _in_a_line(text: str) -> str:
    """Return a message of several lines as one."""
    return re.sub(r"\s*\n\s*", "; ", text.strip()).replace(":;", ":")


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
