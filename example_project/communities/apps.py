"""The communities app."""

from __future__ import annotations

from django.apps import AppConfig


class CommunitiesConfig(AppConfig):
    """Places of the Philippines and the pages that search them."""

    name = "communities"
    verbose_name = "Communities"
    default_auto_field = "django.db.models.BigAutoField"
