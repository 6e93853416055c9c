"""Exceptions to problem details, inside REST framework's views and outside them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    ValidationError,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.views import defaults
from rest_framework import exceptions
from rest_framework.views import set_rollback

from mayagen.api.problems import ProblemResponse
from mayagen.common.errors import DomainError

RETRY_AFTER_S = 5
NON_FIELD = "non_field_errors"

_logger = logging.getLogger(__name__)


def handle_exception(exception: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Return the problem that a REST framework view answers with.

    Returns:
        None for what nobody foresaw, a broken database constraint among it: such an error is a defect, is
        logged with its traceback and ends as status 500.
    """
    response = _to_problem(exception)
    if response is not None:
        set_rollback()
    if response is not None and response.status_code == 503:  # noqa: PLR2004 - service unavailable
        view = context.get("view")
        _logger.error("The database failed in %s", type(view).__name__, exc_info=exception)
    return response


def _to_problem(exception: Exception) -> ProblemResponse | None:
    match exception:
        case DomainError():
            return ProblemResponse(
                status=exception.status,
                code=exception.code,
                detail=exception.message,
                fields=exception.fields,
                extra=exception.extra,
            )
        case exceptions.ValidationError():
            return _invalid(dict(_flatten(exception.detail)))
        case exceptions.APIException():
            return _from_api_exception(exception)
        case ValidationError():
            return _invalid(_list_messages(exception))
        case OperationalError() | InterfaceError():
            return ProblemResponse(
                status=503,
                code="database_unavailable",
                detail="The database does not answer at the moment. Please try again.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
    return _from_plain_exception(exception)


def _from_plain_exception(exception: Exception) -> ProblemResponse | None:
    match exception:
        case Http404():
            return ProblemResponse(status=404, code="not_found", detail="There is no such object.")
        case PermissionDenied():
            return ProblemResponse(
                status=403, code="permission_denied", detail="Your role does not allow this."
            )
        case RequestDataTooBig():
            return ProblemResponse(
                status=413, code="body_too_large", detail="The body of the request is too large."
            )
        case UnreadablePostError():
            return ProblemResponse(
                status=400, code="unreadable_body", detail="The body of the request ended early."
            )
        case SuspiciousOperation() | BadRequest():
            return ProblemResponse(status=400, code="bad_request", detail="The request can't be understood.")
    return None


def _invalid(fields: Mapping[str, list[str]]) -> ProblemResponse:
    general = fields.get(NON_FIELD)
    detail = general[0] if general and len(fields) == 1 else "Some fields are missing or not valid."
    return ProblemResponse(status=400, code="invalid", detail=detail, fields=fields)


def _from_api_exception(exception: exceptions.APIException) -> ProblemResponse:
    headers = {}
    auth_header = getattr(exception, "auth_header", None)
    if auth_header:
        headers["WWW-Authenticate"] = auth_header
    wait_s = getattr(exception, "wait", None)
    if wait_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    codes, detail = exception.get_codes(), exception.detail
    return ProblemResponse(
        status=exception.status_code,
        code=codes if isinstance(codes, str) else exception.default_code,
        detail=str(detail) if isinstance(detail, str) else str(exception.default_detail),
        fields=None if isinstance(detail, str) else dict(_flatten(detail)),
        headers=headers,
    )


def _flatten(detail: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield each field's dotted path with its messages: `items.3.key`."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            is_general = name == NON_FIELD and path
            yield from _flatten(inner, path if is_general else f"{path}.{name}".lstrip("."))
    elif isinstance(detail, list) and any(isinstance(inner, Mapping | list) for inner in detail):
        for index, inner in enumerate(detail):
            if inner:
                yield from _flatten(inner, f"{path}.{index}".lstrip("."))
    else:
        messages = detail if isinstance(detail, list) else [detail]
        if messages:
            yield path or NON_FIELD, [str(message) for message in messages]


def _list_messages(error: ValidationError) -> dict[str, list[str]]:
    if hasattr(error, "error_dict"):
        return {
            NON_FIELD if name == "__all__" else name: messages
            for name, messages in error.message_dict.items()
        }
    return {NON_FIELD: error.messages}


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django refuses, such as one for a foreign host."""
    if _is_api(request):
        return _to_problem(exception) or _from_status(400, "bad_request", "The request can't be understood.")
    return defaults.bad_request(request, exception)


def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that is not allowed."""
    if _is_api(request):
        return _from_status(403, "permission_denied", "Your role does not allow this.")
    return defaults.permission_denied(request, exception)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request for an address that does not exist."""
    if _is_api(request):
        return _from_status(404, "not_found", "There is nothing at this address.")
    return defaults.page_not_found(request, exception)


def handler500(request: HttpRequest) -> HttpResponse:
    """Answer a request that met a defect; the id finds it in the log."""
    if _is_api(request):
        return ProblemResponse(
            status=500,
            code="internal_error",
            detail="Something went wrong on our side. Nothing was saved.",
            extra={"request_id": getattr(request, "request_id", None)},
        )
    return defaults.server_error(request)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def _from_status(status: int, code: str, detail: str) -> ProblemResponse:
    return ProblemResponse(status=status, code=code, detail=detail)
