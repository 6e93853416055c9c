"""The routes of liveness and readiness alone."""

from __future__ import annotations

from django.urls import path

from mayagen import health

urlpatterns = [path("healthz", health.healthz), path("readyz", health.readyz)]
