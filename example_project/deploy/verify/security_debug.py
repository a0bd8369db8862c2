"""Nothing of the inside is shown: debug pages, settings, versions."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from deploy import env
from deploy.verify.checks import Failed, Skipped, Suite
from deploy.verify.context import Context
from deploy.verify.decisions import decided_against
from deploy.verify.site import Visitor

#: 503 is what the site itself says where an index is not built.
BROKEN = (500, 502, 504)
CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
#: What a debug page holds, and no other.
DEBUG_MARKS = (
    "DEBUG = True", "django.views.debug", "Using the URLconf", "Traceback (most recent call last)",
    "Request Method:", "Django Version:", "Python Executable:", "Werkzeug",
)  # fmt: skip
#: Addresses that are not there, and such as may break what looks for them.
ODD_PATHS = (
    "/obc-verify-there-is-none/", "/admin/obc-verify/", "/communities/%00/", "/communities/%ff%fe/",
    "/chat/no-key/", "/chat/00000000-0000-0000-0000-000000000000/", "/api/conversations/%00/",
    "/api/jobs/%F0%28%8C%28/", "/search/?q=%00", "/search/?q=%ff", "/admin/login/?next=//%00",
    "/static/there-is-none.css", "/%2e%2e/", "/a" * 1500, "/metrics/", "/api/schema/?format=%00",
)  # fmt: skip
#: A variable with the day to judge versions by, for proofs whose result must not change.
DAY = "OBC_VERIFY_DAY"
#: Until when each line gets fixes of security: Django's and Python's own announcements.
DJANGO_UNTIL = {
    (5, 2): datetime.date(2028, 4, 30),
    (6, 0): datetime.date(2027, 4, 30),
    (6, 1): datetime.date(2027, 12, 31),
    (6, 2): datetime.date(2030, 4, 30),
}
PYTHON_UNTIL = {
    (3, 11): datetime.date(2027, 10, 31),
    (3, 12): datetime.date(2028, 10, 31),
    (3, 13): datetime.date(2029, 10, 31),
    (3, 14): datetime.date(2030, 10, 31),
}


def add(suite: Suite) -> None:
    """Add the checks."""
    suite.check("settings", "The settings can be loaded")(settings)
    suite.check("debug-refused", "A deployment with DEBUG=1 does not start")(debug_refused)
    suite.check("debug-settings", "Debugging is off", needs=("settings",))(debug_settings)
    suite.check("system-checks", "check --deploy has no issue", needs=("settings",))(system_checks)
    suite.check("versions", "Python and Django get fixes of security")(versions)
    suite.check("packages", "Packages are those of constraints.txt")(packages)


def settings(context: Context) -> str:
    """Look whether .env can be deployed with, and Django be set up."""
    context.configured()
    return f"{os.environ['DJANGO_SETTINGS_MODULE']}, from {context.home / '.env'} and environment"


def debug_refused(context: Context) -> str:
    """Configure with DEBUG=1, in a copy of the environment."""
    for name in ("DEBUG", "OBC_SITE_DEBUG"):
        try:
            env.load({**os.environ, name: "1"})
        except env.NotConfigured as error:
            if f"{name}: asks for debugging" in str(error):
                continue
        raise Failed(f"deploy.env takes {name}=1: reading.refuse_debug has to refuse it")
    return "DEBUG=1 and OBC_SITE_DEBUG=1 are refused"


def debug_settings(context: Context) -> str:
    """Look at the settings, and whether gunicorn has the same ones."""
    from django.conf import settings

    if settings.DEBUG:
        raise Failed(
            "DEBUG is on in the settings: remove what switches it on after deploy.settings"
        )
    for template in settings.TEMPLATES:
        if template.get("OPTIONS", {}).get("debug"):
            raise Failed("TEMPLATES has the option 'debug': remove it")
    own = os.environ["DJANGO_SETTINGS_MODULE"]
    running = _variable_of(context.home / "run" / "web.pid", "DJANGO_SETTINGS_MODULE")
    if running is None:
        return "DEBUG is off; which settings gunicorn has cannot be seen from here"
    if running != own:
        raise Failed(
            f"gunicorn runs with {running}, and what is verified here is {own}: give both the same"
            " DJANGO_SETTINGS_MODULE"
        )
    return f"DEBUG is off in {own}, which gunicorn runs with"


def debug_pages(context: Context) -> str:
    """Ask for what is not there or breaks, and look for what a debug page shows."""
    visitor = Visitor(context.address)
    host, port = context.address.host, context.address.port
    asked = 0
    odd_hosts = [f"{host}:x", f"{host}.:{port}", f"{host}:0x50", f"{host}:99999", "127.0.0.1:1"]
    for path, odd in [(path, {}) for path in ODD_PATHS] + [("/", {"Host": h}) for h in odd_hosts]:
        try:
            answer = visitor.get(path, **odd)
        except Failed:
            if odd:  # the proxy closes on names that are not the site's
                continue
            raise
        asked += 1
        shown = path[:60] if not odd else f"/ as host {odd['Host']}"
        for mark in DEBUG_MARKS:
            if mark in answer.text:
                raise Failed(
                    f"{shown} answers {answer.status} with a debug page ({mark!r}), which shows"
                    " code and settings to strangers: DEBUG is on in the running site. Use"
                    " deploy.settings, and restart web and streams"
                )
        if answer.status in BROKEN and context.seen.get("stores"):  # else it is told already
            raise Failed(f"{shown} answers {answer.status}: see the newest error in log/web.log")
    return f"{asked} odd addresses and hosts: no debug page, nothing broke"


def system_checks(context: Context) -> str:
    """Run Django's own checks of a deployment."""
    from django.core import checks

    try:
        found = checks.run_checks(include_deployment_checks=True, databases=["default"])
    except Exception as error:  # noqa: BLE001 - the database may be away
        raise Failed(f"check --deploy breaks: {type(error).__name__}: {error}") from None
    declined = decided_against(context.configured())
    issues = [
        each
        for each in found
        if not each.is_silenced() and each.level >= checks.WARNING and each.id not in declined
    ]
    if issues:
        listed = "; ".join(f"{each.id} {each.msg}" for each in issues)
        raise Failed(
            f"check --deploy identifies {len(issues)} issues: {' '.join(listed.split())} - run"
            " manage.py check --deploy for what to do"
        )
    also = f"; decided against: {', '.join(declined)}" if declined else ""
    return f"no issues, {f'silenced: {_silenced()}' if _silenced() else '0 silenced'}{also}"


def versions(context: Context) -> str:
    """Compare versions with the last day on which each line gets fixes."""
    import django

    # A day more or less does not matter; one to judge by keeps a trial's result as it was.
    given = os.environ.get(DAY)
    try:
        today = datetime.date.fromisoformat(given) if given else datetime.date.today()  # noqa: DTZ011
    except ValueError:
        raise Failed(f"{DAY} is no day such as 2026-11-29: {given!r}") from None
    told, unknown = [f"judged by {DAY}={today}"] if given else [], []
    for name, line, until, version in (
        ("Python", sys.version_info[:2], PYTHON_UNTIL, platform.python_version()),
        ("Django", django.VERSION[:2], DJANGO_UNTIL, django.get_version()),
    ):
        last = until.get(line)
        if last is None:
            known = ", ".join(f"{major}.{minor}" for major, minor in sorted(until))
            if line < min(until, default=line):
                raise Failed(f"{name} {version} is older than what gets fixes ({known})")
            unknown.append(
                f"{name} {version} is of no line whose last day is known here ({known}): read it,"
                " and write it into security_debug.py"
            )
            continue
        if today > last:
            raise Failed(
                f"{name} {version} gets no fixes of security since {last}: install a newer"
            )
        told.append(f"{name} {version} until {last}")
    if unknown:
        raise Skipped("; ".join([*unknown, *told]))
    return ", ".join(told)


def packages(context: Context) -> str:
    """Compare what is installed with the versions whose hashes were checked."""
    if context.home.resolve() not in Path(sys.prefix).resolve().parents:
        raise Skipped(f"this Python is not of {context.home}: deploy_ai.sh has not installed it")
    wrong = []
    wanted = pinned()
    for name, version in wanted.items():
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            there = "missing"
        if there != version:
            wrong.append(f"{name} is {there} and not {version}")
    if wrong:
        raise Failed(f"{'; '.join(wrong)} (constraints.txt): run deploy_ai.sh")
    return f"{len(wanted)} packages, each of the version in constraints.txt"


def pinned() -> dict[str, str]:
    """Return the versions of constraints.txt that hold for this Python, by the package's name."""
    from packaging.requirements import Requirement

    found = {}
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate():
                found[requirement.name] = str(requirement.specifier).removeprefix("==")
    return found


def _variable_of(pid_file: Path, name: str) -> str | None:
    """Return a variable of a process; None if it cannot be read."""
    with suppress(OSError, ValueError):
        process = Path("/proc") / str(int(pid_file.read_text("ascii")))
        for entry in (process / "environ").read_bytes().split(b"\0"):
            key, _, value = entry.decode("utf-8", "replace").partition("=")
            if key == name:
                return value
    return None


def _silenced() -> str:
    from django.conf import settings

    return ", ".join(settings.SILENCED_SYSTEM_CHECKS)
