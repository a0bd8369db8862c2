"""What uvicorn serves: ``uvicorn deploy.asgi:application``."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")
# Each request may run in a thread of its own, with a connection of its own: the pool bounds them.
os.environ.setdefault("OBC_SITE_SERVER", "asgi")

application = get_asgi_application()
