"""Questions about the communities: a page that works without JavaScript, and its rows as CSV."""

from __future__ import annotations

import uuid

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from communities.forms import ChatForm
from communities.usage import is_asking_free
from django_obc_ai.exceptions import ObcAIError, UnknownConversationError
from django_obc_ai.services.chat import ChatService

EXAMPLES = (
    "How many barangays are in Basilan?",
    "Top 5 municipalities by population",
    "Communities per province",
    "Ilang barangay ang nasa Lanao del Sur?",
    "limang pinakamataong bayan",
)


@require_http_methods(["GET", "HEAD", "POST"])
def chat(request: HttpRequest) -> HttpResponse:
    """Answer a question about the site's data, with the asking user's own rights.

    It takes a POST, since an answer can cost money: see views.ask().
    """
    if request.method != "POST":
        return render(request, "communities/chat.html", {"form": ChatForm(), "examples": EXAMPLES})
    if not (request.user.is_authenticated or is_asking_free()):
        return redirect_to_login(reverse("chat"))
    form = ChatForm(request.POST)
    context: dict[str, object] = {"form": form, "examples": EXAMPLES}
    if form.is_valid():
        service, conversation = ChatService(module="communities"), form.cleaned_data["conversation"]
        message = form.cleaned_data["message"]
        try:
            answer = service.send(message, user=request.user, conversation=conversation)
        except UnknownConversationError:  # it was purged, or is somebody else's
            answer = service.send(message, user=request.user)
        context |= {
            "answer": answer,
            "question": message,
            "form": ChatForm(initial={"conversation": answer.conversation.pk}),
        }
        if answer.rows is not None and request.user.is_staff:
            context["sql"] = service.show_query(answer.message_id, user=request.user)
    return render(request, "communities/chat.html", context)


@require_safe
def chat_rows(request: HttpRequest, message: uuid.UUID) -> HttpResponse:
    """Return the rows of an answer as CSV: today's, as far as the user may still see them."""
    try:
        text = ChatService().export_csv(message, user=request.user)
    except ObcAIError:
        raise Http404("There is no such answer of yours.") from None
    return HttpResponse(
        text,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="rows.csv"'},
    )
