"""The project that four processes of gunicorn serve for metrics_scrape.py."""

from __future__ import annotations

import os
from pathlib import Path

import django
from django.conf import settings
from django.test.utils import override_settings

from tests.acceptance._metrics_site import TOKEN

MODEL = "gemini-2.5-flash"
django.setup()
options = {"api_key": "loopback-key", "model": MODEL, "max_output_tokens": 2_000}
options["base_url"] = os.environ["OBC_AI_SCRAPED_GEMINI"]
provider = "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider"
override_settings(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    MIDDLEWARE=[],
    OBC_AI={
        "PROVIDERS": {"default": {"BACKEND": provider, "OPTIONS": options}},
        "METRICS": {"token": TOKEN},
        "RETRY": {"attempts": 1},
        "BUDGETS": [{"scope": "global", "period": "month", "limit_usd": "1000"}],
    },
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": str(Path(settings.BASE_DIR) / "cache"),
        }
    },
).enable()

from django.core.wsgi import get_wsgi_application  # noqa: E402 - needs the settings
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402 - the same
from django.urls import path  # noqa: E402 - the same

from django_obc_ai.api.prometheus import metrics_view  # noqa: E402 - the same
from django_obc_ai.services.text import TextService  # noqa: E402 - the same


def ask(request: HttpRequest) -> HttpResponse:
    options = {"max_output_tokens": 1} if "fail" in request.GET else {}
    model = "no-such-model" if "fail" in request.GET else None
    result = TextService(model=model).generate_text(
        request.GET["prompt"], module=request.GET["module"], **options
    )
    return _of_worker(JsonResponse({"error": result.error, "cached": result.cached}))


def scrape(request: HttpRequest) -> HttpResponse:
    return _of_worker(metrics_view(request))


def _of_worker(response: HttpResponse) -> HttpResponse:
    response["X-Worker"] = str(os.getpid())
    return response


urlpatterns = [path("ask", ask), path("metrics", scrape)]
application = get_wsgi_application()
