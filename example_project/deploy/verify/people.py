"""Users that verify the site: without a password and without rights, but while they do."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from deploy.verify.checks import Failed
from deploy.verify.site import SESSIONS, Address, Visitor

#: How the names of all verifiers begin.
OWN = "obc-verify"


@dataclass(frozen=True, slots=True)
class Verifier:
    """A user for as long as it is needed; `password` is known to nobody else."""

    name: str
    password: str
    user: Any

    def visitor(self, address: Address, source: str | None = None) -> Visitor:
        """Return somebody who has logged in to the admin as this user.

        Raises:
            Failed: The site did not let it in.
        """
        visitor = Visitor(address, source)
        answer = visitor.post(
            "/admin/login/", username=self.name, password=self.password, next="/admin/"
        )
        if answer.status != 302 or "sessionid" not in visitor.cookies:
            raise Failed(
                f"{self.name} could not log in at /admin/login/ (status {answer.status}): is the"
                " address locked after failures (429), or the database another one than the"
                " site's (200)?"
            )
        return visitor

    def token(self, address: Address, source: str | None = None) -> str:
        """Return an access token of /api/token/."""
        answer = Visitor(address, source).send(
            "/api/token/", {"username": self.name, "password": self.password}
        )
        if answer.status != 200:
            raise Failed(f"/api/token/ answers {answer.status} to the right name and password")
        return str(answer.json()["access"])


def let_in(name: str, *, is_superuser: bool = False, is_staff: bool = False) -> Verifier:
    """Let a user in, until `close_all`. Nothing but this module should use the name.

    Args:
        name: ``obc-verify``, or one that begins so.
        is_superuser: With all rights meanwhile.
        is_staff: Whether it may log in to the admin without any.
    """
    from django.contrib.auth import get_user_model

    password = secrets.token_urlsafe(32)
    user, _ = get_user_model().objects.get_or_create(username=name)
    user.set_password(password)
    user.is_active, user.is_superuser = True, is_superuser
    user.is_staff = is_staff or is_superuser
    user.save()
    return Verifier(name, password, user)


def close_all() -> None:
    """Let nobody in any longer whose name is a verifier's, and delete what is theirs.

    Also of a run that was killed. The rows of the users stay, so that what was spent belongs to
    somebody: inactive, without a password and without rights. Their sessions, conversations, jobs
    and failures to log in are deleted.
    """
    from django.apps import apps
    from django.contrib.auth import get_user_model

    from django_obc_ai.models import Conversation, Job

    users = get_user_model()._default_manager.filter(username__startswith=OWN)
    for user in users:
        if user.is_active or user.has_usable_password():
            user.set_unusable_password()
            user.is_active = user.is_staff = user.is_superuser = False
            user.save()
    keys = [user.pk for user in users]
    Conversation.objects.filter(user_id__in=keys).delete()
    Job.objects.filter(user_id__in=keys, finished_at__isnull=False).delete()
    _delete_sessions()
    if apps.is_installed("axes"):
        for name in ("AccessAttempt", "AccessFailureLog", "AccessLog"):
            rows = apps.get_model("axes", name)._default_manager
            rows.filter(username__startswith=OWN).delete()


def _delete_sessions() -> None:
    from importlib import import_module

    from django.conf import settings

    store = import_module(settings.SESSION_ENGINE).SessionStore
    while SESSIONS:
        key = SESSIONS.pop()
        try:
            store(key).delete()
        except Exception:
            SESSIONS.add(key)  # the next try begins with it
            raise
