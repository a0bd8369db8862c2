"""The Django application."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ObcAIConfig(AppConfig):
    """Enable django-obc-ai; registers checks and the projects' indexes, opens nothing."""

    name = "django_obc_ai"
    label = "django_obc_ai"
    verbose_name = "OBC AI"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, find every app's declarations, watch its models."""
        from django_obc_ai import checks, receivers

        checks.register_all()
        autodiscover_modules("ai_indexes", "ai_chat")
        receivers.connect_all()
