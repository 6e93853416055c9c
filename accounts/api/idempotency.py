"""The `Idempotency-Key` header, for views that create what costs money."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from accounts.idempotency import run_once
from accounts.models import User

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="Repeating a request with the same key and body within 30 days gives the same answer and does"
    " nothing again; the same key with another body is an error. At most 255 characters.",
)
"""For the `parameters` of `extend_schema` on a view that calls `answer_once`."""


def answer_once(request: Request, verb: Callable[[], tuple[int, Any]]) -> Response:
    """Answer with a verb's status and body; carry it out once for each `Idempotency-Key`.

    Without the header the verb is simply called. Call it after the body was validated: a refused body is
    not kept. A repeated answer has the header `Idempotency-Replayed: true`.

    Args:
        request: Of a signed-in person.
        verb: Does the work and returns the status and the serialised body; its transaction is ours.

    Raises:
        DomainError: What `verb` raises, and the errors of `accounts.idempotency.run_once`.
    """
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        status, body = verb()
        return Response(body, status=status)
    assert isinstance(request.user, User)  # noqa: S101 - views that cost money let nobody else in
    answer = run_once(
        user=request.user,
        key=key,
        request_body_hash=_hash_request(request),
        verb=lambda: _to_json(*verb()),
    )
    headers = {"Idempotency-Replayed": "true"} if answer.is_replay else None
    return Response(answer.body, status=answer.status, headers=headers)


def _to_json(status: int, body: Any) -> tuple[int, Any]:
    # What is stored must be what is sent: plain JSON, without dates and identifiers as objects.
    return status, json.loads(json.dumps(body, cls=JSONEncoder))


def _hash_request(request: Request) -> str:
    """Return a hash of the address and of what the body says, whatever its order or boundary."""
    digest = hashlib.sha256(f"{request.method} {request.path}\n".encode())
    if isinstance(request.data, QueryDict):
        for name in sorted(request.data):
            for value in request.data.getlist(name):
                digest.update(json.dumps(name).encode())
                digest.update(b"".join(_get_bytes(value)))
    else:
        digest.update(json.dumps(request.data, sort_keys=True, cls=JSONEncoder).encode())
    return digest.hexdigest()


def _get_bytes(value: Any) -> Iterable[bytes]:
    if not isinstance(value, UploadedFile):
        return [json.dumps(str(value)).encode()]
    content = hashlib.sha256()
    value.seek(0)
    for chunk in value.chunks():
        content.update(chunk)
    value.seek(0)
    return [json.dumps([value.name, content.hexdigest()]).encode()]
