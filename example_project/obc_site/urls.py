"""Addresses of the example site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("chat/", include("django_obc_ai.widget.urls")),
    path("api/", include("django_obc_ai.api.urls")),
    path("", include("communities.urls")),
]
