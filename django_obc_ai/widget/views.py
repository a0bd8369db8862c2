"""The chat page: a form, the history, and answers at once or in pieces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TypeAlias
from uuid import UUID

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import DangerousQuery, UnknownConversationError
from django_obc_ai.models import Conversation
from django_obc_ai.services.conversations import delete_conversation
from django_obc_ai.services.web_chat import WebChatService
from django_obc_ai.web.asking import may_ask, open_conversation
from django_obc_ai.web.event_stream import tell_turn
from django_obc_ai.web.throttles import seconds_to_wait
from django_obc_ai.web.transactions import never_atomic
from django_obc_ai.widget.addresses import Addresses
from django_obc_ai.widget.history import (
    has_rows,
    show_conversations,
    show_examples,
    show_messages,
    show_turn,
)
from django_obc_ai.widget.owning import open_answer
from django_obc_ai.widget.shown import ShownMessage
from django_obc_ai.widget.teller import HTMLTeller

# Any: a request of Django whose user may be of any class.
_View: TypeAlias = Callable[..., HttpResponseBase]
_TOO_LONG = 413


class _Refused(Exception):
    """The question is not taken; the text says why, to the person."""

    def __init__(self, status: int, detail: str, *, wait: int = 0) -> None:
        super().__init__(detail)
        self.status, self.detail, self.wait = status, detail, wait


def _own(view: _View) -> _View:
    """Make a view that decides by itself who may come, and is never in one transaction.

    Nothing of it is cached on the way: it is about one person. CSRF is in force also where a
    project has no middleware for it.
    """

    @wraps(view)
    def decided(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not hasattr(request, "user"):  # a project without logins
            request.user = AnonymousUser()
        if may_ask(request.user):
            return view(request, *args, **kwargs)
        if getattr(request.user, "is_authenticated", False):  # a login would change nothing
            if _wants_stream(request):
                return JsonResponse({"detail": _("You may not ask here.")}, status=403)
            raise PermissionDenied
        if _wants_stream(request):
            return JsonResponse({"detail": _("Log in to ask something.")}, status=403)
        address = Addresses(request).page if request.method == "POST" else request.get_full_path()
        return redirect_to_login(address)

    return login_not_required(never_cache(never_atomic(csrf_protect(decided))))


@_own
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponseBase:
    """Show the page, or take a question.

    With ``Accept: text/event-stream`` the answer comes in pieces; otherwise it is stored, and
    the browser is sent to the conversation.
    """
    if request.method != "POST":
        return _page(request, message=_proposed(request))
    try:
        return _ask(request)
    except _Refused as refused:
        response = _refuse(request, refused)
        if refused.wait:
            response["Retry-After"] = str(refused.wait)
        return response


@_own
@require_safe
def conversation(request: HttpRequest, key: UUID) -> HttpResponseBase:
    """Show a conversation; with ``?part=log`` the messages alone, with ``frame`` all but these."""
    try:
        found = open_conversation(request, key)
    except UnknownConversationError as error:
        raise Http404(_("There is no such conversation of yours.")) from error
    if request.GET.get("part") == "frame":
        return _page(request, conversation=found)
    # Reading the rows anew is what costs; beyond the limit they are offered as a file.
    may_read = not has_rows(found) or not seconds_to_wait(request)
    shown = show_messages(
        found, user=request.user, addresses=Addresses(request), is_with_rows=may_read
    )
    if request.GET.get("part") == "log":
        context = {"chat_messages": shown, "conversation": found}
        return render(request, "django_obc_ai/chat/log.html", context)
    return _page(request, conversation=found, shown=shown, message=_proposed(request))


@_own
@require_POST
def delete(request: HttpRequest, key: UUID) -> HttpResponseBase:
    """Delete a conversation."""
    try:
        delete_conversation(open_conversation(request, key), user=request.user)
    except UnknownConversationError as error:
        raise Http404(_("There is no such conversation of yours.")) from error
    return HttpResponseRedirect(Addresses(request).page)


@_own
@require_safe
def rows(request: HttpRequest, key: UUID) -> HttpResponseBase:
    """Send the rows of an answer as CSV, as they are today."""
    if wait := seconds_to_wait(request):
        response = HttpResponse(_too_often(wait), status=429, content_type="text/plain")
        response["Retry-After"] = str(wait)
        return response
    try:
        open_answer(request, key)
        text = WebChatService().export_csv(key, user=request.user)
    except UnknownConversationError as error:
        raise Http404(_("There is no such answer of yours.")) from error
    except DangerousQuery:
        detail = _("These rows cannot be read any longer. Ask again.")
        return HttpResponse(detail, status=403, content_type="text/plain")
    return HttpResponse(
        text,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="rows-{key}.csv"'},
    )


def _ask(request: HttpRequest) -> HttpResponseBase:
    if _length_of(request) > get_settings().web.max_body_bytes:
        raise _Refused(_TOO_LONG, _("The message is too long."))
    if wait := seconds_to_wait(request):
        raise _Refused(429, _too_often(wait), wait=wait)
    message = _message_of(request)
    try:
        found = open_conversation(request, request.POST.get("conversation") or None)
    except UnknownConversationError as error:
        detail = _("There is no such conversation of yours. Begin a new one.")
        raise _Refused(404, detail) from error
    if _wants_stream(request):
        return tell_turn(
            request,
            WebChatService(),
            message,
            user=request.user,
            conversation=found,
            teller=HTMLTeller(request),
        )
    answer = WebChatService().send(message, user=request.user, conversation=found)
    addresses = Addresses(request)
    if addresses.can_go_on:
        return HttpResponseRedirect(addresses.conversation(found.pk))
    # Nothing would tell the next request whose it is.
    shown = show_turn(message, answer, user=request.user, addresses=addresses)
    return _page(request, shown=shown)


def _proposed(request: HttpRequest) -> str:
    """Return what a link to an example or a suggestion puts into the form; it is not asked yet."""
    return request.GET.get("message", "")[: get_settings().chat.max_message_characters]


def _message_of(request: HttpRequest) -> str:
    message = request.POST.get("message", "").replace("\r\n", "\n").strip()
    most = get_settings().chat.max_message_characters
    if not message:
        raise _Refused(400, _("Write a question first."))
    if len(message) > most:
        raise _Refused(
            400,
            _("A question has %(most)d characters at most; this one has %(length)d.")
            % {"most": most, "length": len(message)},
        )
    return message


def _refuse(request: HttpRequest, refused: _Refused) -> HttpResponse:
    if _wants_stream(request):
        return JsonResponse({"detail": refused.detail}, status=refused.status)
    # What was too long for us to read is not read for the form, either.
    message = "" if refused.status == _TOO_LONG else request.POST.get("message", "")
    found: Conversation | None = None
    shown: tuple[ShownMessage, ...] = ()
    with suppress(UnknownConversationError):
        if key := request.POST.get("conversation"):
            found = open_conversation(request, key)
            shown = show_messages(
                found, user=request.user, addresses=Addresses(request), is_with_rows=False
            )
    return _page(
        request,
        conversation=found,
        shown=shown,
        form_error=refused.detail,
        message=message,
        status=refused.status,
    )


def _page(
    request: HttpRequest,
    *,
    conversation: Conversation | None = None,
    shown: tuple[ShownMessage, ...] = (),
    form_error: str = "",
    message: str = "",
    status: int = 200,
) -> HttpResponse:
    addresses = Addresses(request)
    # "messages" is a name of Django's own, which the project's base template prints.
    context = {
        "chat_messages": shown,
        "conversation": conversation,
        "conversation_key": "" if conversation is None else str(conversation.pk),
        "conversations": show_conversations(request.user, addresses, current=conversation),
        "form_error": form_error,
        "message": message,
        "max_length": get_settings().chat.max_message_characters,
        "urls": {
            "page": addresses.page,
            "delete": "" if conversation is None else addresses.delete(conversation.pk),
        },
        "examples": () if shown else show_examples(request.user),
    }
    return render(request, "django_obc_ai/chat/page.html", context, status=status)


def _wants_stream(request: HttpRequest) -> bool:
    # Not request.accepts(): browsers accept */* for pages, too.
    return "text/event-stream" in request.headers.get("Accept", "")


def _length_of(request: HttpRequest) -> int:
    length = request.META.get("CONTENT_LENGTH") or "0"
    return int(length) if str(length).isdecimal() else 0


def _too_often(wait: int) -> str:
    return _("That was too often. Please try again in %(wait)d seconds.") % {"wait": wait}
