"""Addresses of the REST API: ``path("ai/api/", include("django_obc_ai.api.urls"))``."""

from __future__ import annotations

from django.urls import path

from django_obc_ai.api import chat

app_name = "django_obc_ai_api"
urlpatterns = [
    path("chat/", chat.ChatView.as_view(), name="chat"),
    path("chat/stream/", chat.ChatStreamView.as_view(), name="chat-stream"),
]
