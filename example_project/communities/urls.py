"""Addresses of the communities app."""

from __future__ import annotations

from django.urls import path

from communities import views

urlpatterns = [
    path("", views.home, name="home"),
    path("search/", views.search, name="search"),
    path("search/ask/", views.ask, name="ask"),
    path("communities/<str:code>/", views.community, name="community"),
]
