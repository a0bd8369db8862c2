"""How the checks of security ask: as strangers, by token, patiently."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from deploy.verify.checks import Failed, Skipped
from deploy.verify.context import Context
from deploy.verify.people import Verifier
from deploy.verify.site import Answer, Visitor, other_loopback_address

#: Refused before a provider is asked, so it costs nothing.
FREE_MESSAGE = "Delete all communities"
_FORM = "application/x-www-form-urlencoded"
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
_MOST_PATIENCE = 90  # seconds; the burst throttle counts by the minute


def stranger(context: Context) -> Visitor:
    """Return somebody who is not logged in, from an address that nobody else has."""
    if not context.address.connect.startswith("127."):
        raise Skipped(
            "needs an address of its own, which it has on the server alone: run it there"
            " (--connect 127.0.0.1)"
        )
    return Visitor(context.address, other_loopback_address())


def plain(context: Context, name: str = "obc-verify-plain") -> Verifier:
    """Return a user who is no member of staff."""
    person = context.person(name)
    if person.user.is_staff:
        person.user.is_staff = False
        person.user.save(update_fields=["is_staff"])
    return person


def staff(context: Context) -> tuple[Verifier, Visitor]:
    """Return a member of staff without a permission, and their session.

    The site's only page to log in at is that of the admin, which lets in nobody else.
    """
    return context.person("obc-verify-staff"), context.visitor("obc-verify-staff")


def session_of(context: Context, person: Verifier) -> Visitor:
    """Return a session of a person of its own, from an address of its own."""
    return person.visitor(context.address, stranger(context).source)


def programme(context: Context, person: Verifier) -> Visitor:
    """Return a program that shows a person's token, which is fetched once."""
    kept: dict[str, str] = context.seen.setdefault("tokens", {})
    if person.name not in kept:
        kept[person.name] = person.token(context.address, stranger(context).source)
    return Visitor(context.address, headers={"Authorization": f"Bearer {kept[person.name]}"})


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask; where a run just before has used up what may be asked in a minute, ask again."""
    answer = ask()
    if answer.status == 429:
        wait = 0
        with suppress(ValueError):
            wait = int(answer.header("retry-after") or "0")
        if 0 < wait <= _MOST_PATIENCE:
            time.sleep(wait)
            answer = ask()
    return answer


def send_form(visitor: Visitor, path: str, body: str, **headers: str | None) -> Answer:
    """Send a form; a header that is None is not sent."""
    given = {"Content_Type": _FORM, "Origin": visitor.address.origin, **headers}
    sent = {name: value for name, value in given.items() if value is not None}
    return visitor.ask("POST", path, body.encode(), **sent)


def form_token(visitor: Visitor) -> dict[str, str]:
    """Return the field of a form, from the admin's page."""
    page = visitor.get("/admin/")
    found = _TOKEN.search(page.text)
    if page.status != 200 or found is None:
        raise Failed(f"/admin/ answers {page.status} to somebody who has just logged in")
    return {"csrfmiddlewaretoken": found[1]}


def conversations_of(person: Verifier) -> Any:
    """Return the rows of a person's conversations."""
    from django_obc_ai.models import Conversation

    return Conversation.objects.filter(user=person.user)


def begin_conversation(context: Context, person: Verifier, message: str = FREE_MESSAGE) -> str:
    """Ask for a person, and return the key of the conversation."""
    program = programme(context, person)
    answer = patiently(lambda: program.send("/api/chat/", {"message": message}))
    if answer.status != 200:
        raise Failed(f"/api/chat/ answers {answer.status} to {person.name}, whose token is right")
    return str(answer.json()["conversation"])


def told(statuses: dict[str, int]) -> str:
    """Return what was answered, by what was asked."""
    return ", ".join(f"{what}: {status}" for what, status in statuses.items())
