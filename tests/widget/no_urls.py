"""A project that forgot the chat page."""

from __future__ import annotations

urlpatterns: list[object] = []
