"""Trustworthy language-model calls, search and cost control for Django projects.

Importing this package loads no SDK, no numpy and no Django model. Enable it with
``INSTALLED_APPS = [..., "django_obc_ai"]`` and, when the embedded defaults are not
what you want, one ``OBC_AI`` dictionary in settings.
"""

from __future__ import annotations

from django_obc_ai.logs.config import logging_config

__all__ = ["__version__", "logging_config"]

__version__ = "0.1.0"
