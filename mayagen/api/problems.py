"""Problem details for HTTP APIs: the one shape of every error.

Source: RFC 9457.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpResponse

MEDIA_TYPE = "application/problem+json"


class ProblemResponse(HttpResponse):
    """An error as problem details.

    It is rendered here and not by the view's renderer: an export's error is no CSV.

    Args:
        status: The HTTP status.
        code: A stable name for programs, snake case.
        detail: A sentence for people.
        fields: Messages by the path of the field they belong to.
        extra: JSON-ready facts for programs.
        headers: Further response headers.
    """

    def __init__(
        self,
        *,
        status: int,
        code: str,
        detail: str,
        fields: Mapping[str, list[str]] | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # With the type "about:blank" the title is the status's own phrase (section 4.2.1).
        self.data: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
        }
        if fields:
            self.data["fields"] = dict(fields)
        if extra:
            self.data["extra"] = dict(extra)
        body = json.dumps(self.data, cls=DjangoJSONEncoder, ensure_ascii=False).encode("utf-8", "replace")
        super().__init__(body, status=status, content_type=MEDIA_TYPE, headers=dict(headers or {}))
        self.headers["Cache-Control"] = "no-store"
