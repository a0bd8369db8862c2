"""Language-model providers.

`providers["default"]` is the configured backend; see `BackendHandler`.
"""

from __future__ import annotations

from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.providers.base import BaseProvider

providers: BackendHandler[BaseProvider] = BackendHandler(
    "PROVIDERS", "django_obc_ai.backends.providers.base.BaseProvider"
)

__all__ = ["BaseProvider", "providers"]
