"""``{% obc_ai_chat %}`` puts the chat into any page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.shortcuts import resolve_url
from django.template import Context
from django.urls import NoReverseMatch, reverse
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext

from django_obc_ai.conf import get_settings
from django_obc_ai.web.asking import may_ask

register = template.Library()


@register.inclusion_tag("django_obc_ai/chat/widget.html", takes_context=True)
def obc_ai_chat(
    context: Context,
    *,
    inline: bool = False,
    title: str = "",
    examples: Any = (),
    conversation: Any = None,
) -> dict[str, Any]:
    """Show the chat: in the corner of the page, or where the tag stands.

    Args:
        context: Of the page; it must hold the request.
        inline: Whether it stands where the tag does, open.
        title: Above the chat, and on its button; translated "Ask about the data" without one.
        examples: Questions to begin with: a list, or one text with "|" between them.
        conversation: To go on with, or its key; without one, the last of this browser tab.

    Raises:
        ImproperlyConfigured: The page was rendered without its request, or the addresses of the
            chat page are missing.
    """
    # Any: a project's pages may bring a request of Django's or of another framework's.
    request: Any = getattr(context, "request", None) or context.get("request")
    if request is None:
        raise ImproperlyConfigured(
            "{% obc_ai_chat %} needs to know who looks at the page. Render the template with the"
            ' request, as django.shortcuts.render() does, or add "request" to its context.'
        )
    user = getattr(request, "user", None) or AnonymousUser()
    return {
        "page_url": page_url(),
        "is_floating": not inline,
        "may_ask": may_ask(user),
        "login_url": login_url(request),
        "storage_key": storage_key(user),
        "title": title or gettext("Ask about the data"),
        "examples": examples.split("|") if isinstance(examples, str) else list(examples or ()),
        "max_length": get_settings().chat.max_message_characters,
        "conversation_key": str(getattr(conversation, "pk", None) or conversation or ""),
        "request": request,
        "csrf_token": context.get("csrf_token", ""),
    }


@register.simple_tag(name="obc_ai_storage_key", takes_context=True)
def storage_key_of(context: Context) -> str:
    """Return the name under which a tab keeps the conversation of whoever looks at the page."""
    request: Any = getattr(context, "request", None) or context.get("request")
    return storage_key(getattr(request, "user", None))


def page_url() -> str:
    """Return the address of the chat page, to which the widget's form is sent.

    Raises:
        ImproperlyConfigured: The project has none.
    """
    try:
        return reverse("django_obc_ai_chat:page")
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            "{% obc_ai_chat %} sends its questions to the chat page, which has no address. Add"
            ' path("chat/", include("django_obc_ai.widget.urls")) to the urlpatterns of'
            f" {settings.ROOT_URLCONF}."
        ) from error


def login_url(request: Any) -> str:
    """Return where people log in, and come back from to this page."""
    address = resolve_url(settings.LOGIN_URL)
    joint = "&" if "?" in address else "?"
    return f"{address}{joint}{urlencode({'next': request.get_full_path()})}"


def storage_key(user: Any) -> str:
    """Return a name that differs from user to user and tells nobody who it is.

    Two people may use one tab after another; the second must not be shown the first one's key.
    """
    whose = getattr(user, "pk", None)
    digest = salted_hmac("django_obc_ai.chat", str(whose or "anonymous"), algorithm="sha256")
    return f"obc-ai-{digest.hexdigest()[:16]}"
