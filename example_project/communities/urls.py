"""Addresses of the communities app."""

from __future__ import annotations

from django.urls import path

from communities import chat_views, views

urlpatterns = [
    path("", views.home, name="home"),
    path("search/", views.search, name="search"),
    path("search/ask/", views.ask, name="ask"),
    path("chat/", chat_views.chat, name="chat"),
    path("chat/<uuid:message>/rows.csv", chat_views.chat_rows, name="chat_rows"),
    path("communities/<str:code>/", views.community, name="community"),
]
