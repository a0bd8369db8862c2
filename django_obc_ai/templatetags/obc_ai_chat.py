"""``{% obc_ai_chat %}`` puts the chat into any page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import django
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

    On the chat page itself the corner stays empty, so that the tag can stand in a template that
    this page extends as well.

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
    request = request_of(context)
    if request is None:
        raise ImproperlyConfigured(
            "{% obc_ai_chat %} needs to know who looks at the page. Render the template with the"
            ' request, as django.shortcuts.render() does, or add "request" to its context.'
        )
    user = getattr(request, "user", None) or AnonymousUser()
    may = may_ask(user)
    has_place = inline or not is_chat_page(request)
    return {
        "page_url": page_url(),
        # Whom the project's rule refuses, a login would not help.
        "is_shown": has_place and (may or not getattr(user, "is_authenticated", False)),
        "is_floating": not inline,
        "may_ask": may,
        "login_url": login_url(request),
        "storage_key": storage_key(user),
        "title": title or gettext("Ask about the data"),
        "examples": examples.split("|") if isinstance(examples, str) else list(examples or ()),
        "max_length": get_settings().chat.max_message_characters,
        "conversation_key": str(getattr(conversation, "pk", None) or conversation or ""),
        "form_error": "",
        "message": "",
        "csp_nonce": nonce_of(context),
        "request": request,
        "csrf_token": context.get("csrf_token", ""),
    }


@register.simple_tag(name="obc_ai_storage_key", takes_context=True)
def storage_key_of(context: Context) -> str:
    """Return the name under which a tab keeps the conversation of whoever looks at the page."""
    return storage_key(getattr(request_of(context), "user", None))


@register.simple_tag(name="obc_ai_nonce", takes_context=True)
def nonce_of(context: Context) -> Any:
    """Return the nonce of the page's Content-Security-Policy; None if it has none.

    Django's own and that of django-csp are made when they are printed, and count as false until
    then: compare with None.
    """
    if (nonce := context.get("csp_nonce")) is not None:
        return nonce
    request = request_of(context)
    if django.VERSION >= (6, 0):  # 5.2 sets no policy
        from django.middleware.csp import get_nonce

        if (nonce := get_nonce(request)) is not None:
            return nonce
    return getattr(request, "csp_nonce", None)


def request_of(context: Context) -> Any:
    """Return the request for which a template is rendered, or None.

    Any: a project's pages may bring a request of Django's or of another framework's.
    """
    return getattr(context, "request", None) or context.get("request")


def is_chat_page(request: Any) -> bool:
    """Return whether the page is one of the chat's own."""
    match = getattr(request, "resolver_match", None)
    return match is not None and "django_obc_ai_chat" in match.app_names


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
