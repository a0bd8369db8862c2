"""Addresses of the chat page: ``path("chat/", include("django_obc_ai.widget.urls"))``."""

from __future__ import annotations

from django.urls import path

from django_obc_ai.widget import views
from django_obc_ai.widget.addresses import APP_NAME
from django_obc_ai.widget.markdown import require_markdown

require_markdown()  # when the site starts, not when the first answer has been paid for

app_name = APP_NAME
urlpatterns = [
    path("", views.page, name="page"),
    path("<uuid:key>/", views.conversation, name="conversation"),
    path("<uuid:key>/delete/", views.delete, name="delete"),
    path("rows/<uuid:key>.csv", views.rows, name="rows"),
]
