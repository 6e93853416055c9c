"""Stored images, given to whoever may see the generation or dataset that they belong to."""

from __future__ import annotations

import uuid
from typing import Any, Final, cast

from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils.http import parse_etags
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.models import User
from generations.models import StoredImage
from generations.selectors import get_visible_image

# The signed address behind a redirect is valid for five minutes (`querystring_expire`).
_REDIRECT_SECONDS: Final = 240
_FILE_SECONDS: Final = 24 * 3600
_FIELDS: Final = {
    "small": ("small_thumbnail", "image/webp"),
    "thumbnail": ("thumbnail", "image/webp"),
    "original": ("file", ""),
}
_EXTENSIONS: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


@extend_schema(exclude=True)
class ImageFileView(APIView):
    """One size of one image: `small`, `thumbnail`, or `original`, which is sent as a download.

    The type is the one found when the file was decoded, never one that a client named. An image that the
    caller may not see is the same 404 as one that does not exist.
    """

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:  # noqa: FBT001, FBT002
        # An <img> accepts images only, which no renderer of the API makes.
        return super().perform_content_negotiation(request, force=True)

    def get(self, request: Request, image_id: uuid.UUID, size: str) -> HttpResponseBase:
        """Return the file, or a redirect to its signed address where it is in an object store."""
        image = get_visible_image(actor=cast(User, request.user), image_id=image_id)
        if image is None or size not in _FIELDS:
            raise Http404
        etag = f'"{image.pk}-{size}"'
        if etag in parse_etags(request.headers.get("If-None-Match", "")):
            return _with_cache(HttpResponse(status=304), etag, _FILE_SECONDS)
        return _send(image, size, etag)


def _send(image: StoredImage, size: str, etag: str) -> HttpResponseBase:
    field, mime_type = _FIELDS[size]
    name: str = getattr(image, field).name
    mime_type = mime_type or (
        image.mime_type if image.mime_type in _EXTENSIONS else "application/octet-stream"
    )
    extension = _EXTENSIONS.get(mime_type, "bin")
    disposition = f'attachment; filename="{image.pk}.{extension}"' if size == "original" else "inline"
    if hasattr(default_storage, "bucket_name"):
        parameters = {"ResponseContentType": mime_type, "ResponseContentDisposition": disposition}
        address = default_storage.url(name, parameters=parameters)  # type: ignore[call-arg]
        return _with_cache(HttpResponseRedirect(address), "", _REDIRECT_SECONDS)
    try:
        response = FileResponse(default_storage.open(name), content_type=mime_type)
    except FileNotFoundError:
        raise Http404 from None
    response.headers["Content-Disposition"] = disposition
    return _with_cache(response, etag, _FILE_SECONDS)


def _with_cache(response: HttpResponseBase, etag: str, seconds: int) -> HttpResponseBase:
    """Let the person's own browser keep the file: stored images never change."""
    response.headers["Cache-Control"] = f"private, max-age={seconds}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    if etag:
        response.headers["ETag"] = etag
    return response
