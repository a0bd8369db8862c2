from __future__ import annotations

from django.contrib import admin
from django.urls import path

from django_obc_ai.api.prometheus import metrics_view

urlpatterns = [path("admin/", admin.site.urls), path("metrics", metrics_view)]
