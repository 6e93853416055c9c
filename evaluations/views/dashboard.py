"""The admin's landing page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def add_dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the landing page's context."""
    return context
