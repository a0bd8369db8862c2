"""Who guesses passwords is locked out, and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from deploy.verify.checks import Failed, Suite
from deploy.verify.context import Context
from deploy.verify.security_asking import stranger
from deploy.verify.site import Answer, Visitor

TRIES = 5
_COOL_OFF = timedelta(minutes=30)
_WRONG = "not-the-password"
Attempt = Callable[[Visitor, str, str], Answer]


def add(suite: Suite) -> None:
    """Add the checks."""
    add, needs = suite.check, ("people",)
    add("lockout-login", f"{TRIES} wrong passwords lock the login", needs=needs)(login)
    add("lockout-tokens", f"{TRIES} wrong passwords lock /api/token/", needs=needs)(tokens)
    add("lockout-time", "A lock is for 30 minutes", needs=needs)(cool_off)


def login(context: Context) -> str:
    """Guess at the admin's login."""
    return _guess(context, _by_form, "/admin/login/")


def tokens(context: Context) -> str:
    """Guess where programs get tokens."""
    return _guess(context, _by_token, "/api/token/")


def cool_off(context: Context) -> str:
    """Read for how long; waiting for it would take as long."""
    from axes.conf import settings
    from axes.helpers import get_cool_off

    if not settings.AXES_ENABLED:
        raise Failed("AXES_ENABLED is off: nobody is locked out")
    found = get_cool_off()
    if found is None or found < _COOL_OFF:
        raise Failed(f"AXES_COOLOFF_TIME is {found}, and 30 minutes are the least")
    if found > timedelta(days=1):
        raise Failed(f"AXES_COOLOFF_TIME is {found}: people stay out for longer than a day")
    if any(each == "username" for each in settings.AXES_LOCKOUT_PARAMETERS):
        raise Failed("AXES_LOCKOUT_PARAMETERS locks by the name alone: anybody locks anybody out")
    return f"{found.total_seconds() / 60:g} minutes, by name and address"


def _guess(context: Context, attempt: Attempt, path: str) -> str:
    """Give wrong passwords for a name, then the right one, from there and from elsewhere."""
    person = context.person("obc-verify-lockout", is_superuser=True)
    guesser = stranger(context)
    statuses = [attempt(guesser, person.name, _WRONG).status for _ in range(TRIES)]
    if 429 in statuses[:3]:
        raise Failed(f"{path} is locked after {statuses.index(429) + 1} failures: people mistype")
    if set(statuses) - {200, 401, 429}:
        raise Failed(f"{path} answers {statuses} to wrong passwords")
    right = attempt(guesser, person.name, person.password)
    if right.status != 429 or "access" in right.text or right.all("set-cookie"):
        # With axes away the right password is let in here.
        raise Failed(
            f"after {TRIES} wrong passwords {path} takes the right one (status {right.status}):"
            " guessing is not locked. django-axes belongs into INSTALLED_APPS, MIDDLEWARE and"
            " AUTHENTICATION_BACKENDS, with AXES_FAILURE_LIMIT = 5"
        )
    claiming = Visitor(context.address, guesser.source, {"X-Forwarded-For": "203.0.113.44"})
    if (status := attempt(claiming, person.name, person.password).status) != 429:
        raise Failed(f"a locked address that writes X-Forwarded-For is let in (status {status})")
    elsewhere = attempt(stranger(context), person.name, person.password)
    if elsewhere.status not in (200, 302) or not _is_in(elsewhere):
        raise Failed(
            f"the owner is locked out, too (status {elsewhere.status} from another address): by the"
            " name alone anybody locks anybody out. See AXES_LOCKOUT_PARAMETERS"
        )
    return f"429 after {TRIES} wrong passwords, the right one included; not from elsewhere"


def _by_form(visitor: Visitor, name: str, password: str) -> Answer:
    return visitor.post("/admin/login/", username=name, password=password, next="/admin/")


def _by_token(visitor: Visitor, name: str, password: str) -> Answer:
    return visitor.send("/api/token/", {"username": name, "password": password})


def _is_in(answer: Answer) -> bool:
    return '"access"' in answer.text or any(
        line.startswith("sessionid=") for line in answer.all("set-cookie")
    )
