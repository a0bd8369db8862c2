"""Addresses of that site, and two more: what it sees of a request, and a slow answer."""

from __future__ import annotations

import os
import time
from pathlib import Path

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from deploy import urls
from django_obc_ai.web.throttles import address_of


def seen(request: HttpRequest) -> JsonResponse:
    """Tell what arrived."""
    headers = {name: value for name, value in request.headers.items() if name != "Cookie"}
    return JsonResponse(
        {
            "address": address_of(request),
            "is_secure": request.is_secure(),
            "host": request.get_host(),
            "url": request.build_absolute_uri(),
            "headers": headers,
            "release": Path(__file__).resolve().parent.parent.name,
            "pid": os.getpid(),
            "server": type(request).__name__,
        }
    )


@csrf_exempt
def slow(request: HttpRequest) -> JsonResponse:
    """Answer after so many seconds."""
    body = len(request.body)
    time.sleep(float(request.GET.get("seconds", "0")))
    return JsonResponse({"body": body, "release": Path(__file__).resolve().parent.parent.name})


urlpatterns = [
    path("trial/seen/", seen),
    path("chat/trial/seen/", seen),
    path("trial/slow/", slow),
    path("chat/trial/slow/", slow),
    *urls.urlpatterns,
]
