from __future__ import annotations

import importlib.util

from django.contrib import admin
from django.urls import include, path

from django_obc_ai.api.prometheus import metrics_view

urlpatterns = [path("admin/", admin.site.urls), path("metrics", metrics_view)]
if importlib.util.find_spec("rest_framework"):
    urlpatterns += [path("ai/api/", include("django_obc_ai.api.urls"))]
if importlib.util.find_spec("markdown_it") and importlib.util.find_spec("nh3"):
    urlpatterns += [path("chat/", include("django_obc_ai.widget.urls"))]
