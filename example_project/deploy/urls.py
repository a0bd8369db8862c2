"""Addresses of the deployed site: the example's, tokens, health and metrics."""

from __future__ import annotations

from typing import Any

from django.urls import path
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView

from deploy.metrics import site_metrics
from django_obc_ai.api.base import SharedThrottle
from django_obc_ai.api.health import LiveView, ReadyView
from obc_site.urls import urlpatterns as site_urls


class TokenView(TokenObtainPairView):
    """Give a program its tokens for a name and a password, as often as people may log in."""

    throttle_classes = (SharedThrottle,)

    def get_serializer_context(self) -> dict[str, Any]:
        """Hand over Django's own request: django-axes marks it, and its middleware answers."""
        return {**super().get_serializer_context(), "request": self.request._request}


class RefreshView(TokenRefreshView):
    """Give a new token for one that still can be renewed."""

    throttle_classes = (SharedThrottle,)


urlpatterns = [
    path("api/token/", TokenView.as_view(), name="token"),
    path("api/token/refresh/", RefreshView.as_view(), name="token-refresh"),
    path("health/live/", LiveView.as_view(), name="live"),
    path("health/ready/", ReadyView.as_view(), name="ready"),
    path("metrics", site_metrics, name="metrics"),
    *site_urls,
]
