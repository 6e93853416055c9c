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
_COPIES: Final = {"small": "small_thumbnail", "thumbnail": "thumbnail"}
_COPY_TYPE: Final = "image/webp"
_ORIGINAL: Final = "original"
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
        if image is None or size not in {*_COPIES, _ORIGINAL}:
            raise Http404
        original, copy = image.file.name or "", getattr(image, _COPIES.get(size, "file")).name
        if not copy:
            # Copies are made right after an image has come; until then the image itself stands in.
            return _send(original, image, size=size, etag="")
        etag = f'"{image.pk}-{size}"'
        if etag in parse_etags(request.headers.get("If-None-Match", "")):
            return _with_cache(HttpResponse(status=304), etag, _FILE_SECONDS)
        return _send(copy, image, size=size, etag=etag)


def _send(name: str, image: StoredImage, *, size: str, etag: str) -> HttpResponseBase:
    mime_type = image.mime_type if name == image.file.name else _COPY_TYPE
    if mime_type not in _EXTENSIONS:
        raise Http404
    is_download = size == _ORIGINAL
    disposition = f'attachment; filename="{image.pk}.{_EXTENSIONS[mime_type]}"' if is_download else "inline"
    if hasattr(default_storage, "bucket_name"):
        parameters = {"ResponseContentType": mime_type, "ResponseContentDisposition": disposition}
        address = default_storage.url(name, parameters=parameters)  # type: ignore[call-arg]
        return _with_cache(HttpResponseRedirect(address), "", _REDIRECT_SECONDS if etag else 0)
    try:
        response = FileResponse(default_storage.open(name), content_type=mime_type)
    except FileNotFoundError:
        raise Http404 from None
    response.headers["Content-Disposition"] = disposition
    return _with_cache(response, etag, _FILE_SECONDS if etag else 0)


def _with_cache(response: HttpResponseBase, etag: str, seconds: int) -> HttpResponseBase:
    """Let the person's own browser keep the file: stored images never change."""
    response.headers["Cache-Control"] = f"private, max-age={seconds}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    if etag:
        response.headers["ETag"] = etag
    return response
