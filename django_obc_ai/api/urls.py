"""Addresses of the REST API: ``path("ai/api/", include("django_obc_ai.api.urls"))``."""

from __future__ import annotations

from django.urls import path

from django_obc_ai.exceptions import MissingDependencyError

try:
    from django_obc_ai.api import chat, conversations, health, jobs, openapi, search, usage
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in ("rest_framework", "drf_spectacular"):
        raise
    raise MissingDependencyError(
        f"The REST API needs the package {missing!r}, which is not installed.",
        hint='Run: python -m pip install "django-obc-ai[drf]"',
        check_id="E005",
    ) from error

app_name = "django_obc_ai_api"
# Keys are any text here: what is no key is told as an unknown one, in problem details.
urlpatterns = [
    path("chat/", chat.ChatView.as_view(), name="chat"),
    path("chat/stream/", chat.ChatStreamView.as_view(), name="chat-stream"),
    path("conversations/", conversations.ConversationsView.as_view(), name="conversations"),
    path("conversations/<str:key>/", conversations.ConversationView.as_view(), name="conversation"),
    path("search/", search.SearchView.as_view(), name="search"),
    path("jobs/", jobs.JobsView.as_view(), name="jobs"),
    path("jobs/<str:key>/", jobs.JobView.as_view(), name="job"),
    path("jobs/<str:key>/cancel/", jobs.CancelView.as_view(), name="job-cancel"),
    path("usage/", usage.UsageView.as_view(), name="usage"),
    path("health/", health.HealthView.as_view(), name="health"),
    path("health/live/", health.LiveView.as_view(), name="health-live"),
    path("health/ready/", health.ReadyView.as_view(), name="health-ready"),
    path("schema/", openapi.SchemaView.as_view(), name="schema"),
]
