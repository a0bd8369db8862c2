from __future__ import annotations

import importlib.util

from django.contrib import admin
from django.urls import include, path

from django_obc_ai.api.prometheus import metrics_view

urlpatterns = [path("admin/", admin.site.urls), path("metrics", metrics_view)]
if importlib.util.find_spec("rest_framework"):
    urlpatterns += [path("ai/api/", include("django_obc_ai.api.urls"))]
