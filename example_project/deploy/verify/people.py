"""Users that verify the site: without a password and without rights, but while they do."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deploy.verify.checks import Failed
from deploy.verify.site import Address, Visitor


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


@contextmanager
def verifier(
    name: str, *, is_superuser: bool = False, is_staff: bool = False
) -> Iterator[Verifier]:
    """Let a user in while the block runs.

    The row stays afterwards, so that what was spent belongs to somebody: inactive, without a
    password and without rights. What it said in the chat is deleted. Nothing but this module
    should use the name.

    Args:
        name: ``obc-verify``, or one that begins so.
        is_superuser: With all rights meanwhile.
        is_staff: Whether it may log in to the admin without any.
    """
    from django.contrib.auth import get_user_model

    from django_obc_ai.models import Conversation

    password = secrets.token_urlsafe(32)
    user, _ = get_user_model().objects.get_or_create(username=name)
    user.set_password(password)
    user.is_active, user.is_superuser = True, is_superuser
    user.is_staff = is_staff or is_superuser
    user.save()
    try:
        yield Verifier(name, password, user)
    finally:
        user.refresh_from_db()
        user.set_unusable_password()
        user.is_active = user.is_staff = user.is_superuser = False
        user.save()
        Conversation.objects.filter(user_id=user.pk).delete()
