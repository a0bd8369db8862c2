"""Who may ask, and in which conversation."""

from __future__ import annotations

from typing import Any

from django_obc_ai.conf import get_settings
from django_obc_ai.conf.web import load_may_ask
from django_obc_ai.models import Conversation
from django_obc_ai.services.conversations import (
    get_conversation,
    start_conversation,
    unknown_conversation,
)
from django_obc_ai.web.people import is_known

#: In the session of somebody who did not log in: keys of the conversations begun there.
SESSION_KEY = "django_obc_ai.conversations"
_MOST_KEPT = 20


def may_ask(user: Any) -> bool:
    """Return whether somebody may chat and search.

    People must have logged in, unless the settings let others in, and the project's own rule, if
    it has one, must let them.

    Raises:
        ConfigurationError: The rule cannot be loaded; nobody may ask then.
    """
    web = get_settings().web
    if not getattr(user, "is_authenticated", False) and web.anonymous_scope is None:
        return False
    rule = load_may_ask(web)
    return rule is None or bool(rule(user))


def can_go_on(request: Any) -> bool:
    """Return whether the next request can be known to come from the same person.

    Without a login and without sessions nothing tells; such a conversation has one question.
    """
    return is_known(request.user) or getattr(request, "session", None) is not None


def open_conversation(request: Any, key: Any = None) -> Conversation:
    """Return the conversation of a request, or a new one.

    Somebody who did not log in, or who has no key to own anything by, goes on only with what the
    same session began: a key alone, which may have been seen in an address, opens nothing.

    Args:
        request: Of Django, or of Django REST framework.
        key: Of the conversation; None begins one.

    Raises:
        UnknownConversationError: There is none, or it is somebody else's.
    """
    # Any: both kinds of requests; sessions are optional in a project.
    session: Any = getattr(request, "session", None)
    has_own = is_known(request.user)
    if key is not None:
        if not has_own and str(key) not in _kept(session):
            raise unknown_conversation()
        return get_conversation(key, user=request.user)
    conversation = start_conversation(user=request.user)
    if not has_own and session is not None:
        session[SESSION_KEY] = [*_kept(session), str(conversation.pk)][-_MOST_KEPT:]
    return conversation


def _kept(session: Any) -> list[str]:
    return [] if session is None else list(session.get(SESSION_KEY, ()))
