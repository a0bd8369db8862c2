"""ASGI entry point of the example site."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "obc_site.settings")

application = get_asgi_application()
