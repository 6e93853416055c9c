"""How large a body the pages take, decided by its declared length before any of it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from mayagen.api.parsers import MULTIPART_OVERHEAD_BYTES


class BodyLimitMiddleware:
    """Refuses bodies that declare to be too large; placed before the CSRF check, which reads them.

    A form may hold the largest image and 1 MB besides, or what its view says by `max_multipart_bytes`; a
    stranger's no more than any other body. The API's views check their own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Answer in the view's place if the body is too large for it."""
        length = _read_length(request)
        if length <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE or hasattr(view, "cls"):
            return None
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if request.user.is_authenticated:
            default = settings.MEDIA_MAX_UPLOAD_BYTES + MULTIPART_OVERHEAD_BYTES
            limit = max(limit, getattr(view, "max_multipart_bytes", default))
        if length <= limit:
            return None
        return render(request, "413.html", {"limit_bytes": limit}, status=413)


def _read_length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0
