"""What fal's refusals and failures mean in our vocabulary, for an order, for a question and for a job.

fal answers in three shapes: a list of typed errors by the model, a sentence with an `error_type` by the
platform, and the page of a gateway before it. The same status means something else at each of them: a 503
of the platform is the end of a job, one of the gateway is the end of a question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from generations.providers.base import ErrorCode, JobFailedError, ProviderError
from generations.providers.replies import parse_object
from generations.providers.transport import CODES_BY_STATUS, GATEWAY_IN_DOUBT, Reply, retry_after

CANCELLED_TYPE: Final = "client_cancelled"
_NO_VERDICT: Final = frozenset({401, 402, 403, 404, 408, 409, 425, 429})
_BY_TYPE: Final[Mapping[str, ErrorCode]] = {
    "content_policy_violation": ErrorCode.REFUSED,
    "no_media_generated": ErrorCode.BAD_OUTPUT,
    "bad_request": ErrorCode.INVALID_REQUEST,
    "startup_timeout": ErrorCode.TIMEOUT,
    "internal_server_error": ErrorCode.PROVIDER_UNAVAILABLE,
    "generation_timeout": ErrorCode.PROVIDER_UNAVAILABLE,
    "downstream_service_error": ErrorCode.PROVIDER_UNAVAILABLE,
    "downstream_service_unavailable": ErrorCode.PROVIDER_UNAVAILABLE,
    "request_timeout": ErrorCode.PROVIDER_UNAVAILABLE,
    "runner_scheduling_failure": ErrorCode.PROVIDER_UNAVAILABLE,
    "runner_connection_timeout": ErrorCode.PROVIDER_UNAVAILABLE,
    "runner_connection_refused": ErrorCode.PROVIDER_UNAVAILABLE,
    "runner_connection_error": ErrorCode.PROVIDER_UNAVAILABLE,
    "runner_disconnected": ErrorCode.PROVIDER_UNAVAILABLE,
    "runner_incomplete_response": ErrorCode.PROVIDER_UNAVAILABLE,
    "runner_server_error": ErrorCode.PROVIDER_UNAVAILABLE,
    "client_disconnected": ErrorCode.PROVIDER_UNAVAILABLE,
    CANCELLED_TYPE: ErrorCode.PROVIDER_UNAVAILABLE,
    "internal_error": ErrorCode.PROVIDER_UNAVAILABLE,
}
_BY_STATUS: Final[Mapping[int, ErrorCode]] = {**CODES_BY_STATUS, 499: ErrorCode.PROVIDER_UNAVAILABLE}


@dataclass(frozen=True, slots=True)
class _Body:
    message: str = ""
    kind: str = ""
    is_typed: bool = False


def error_of_order(reply: Reply, *, secrets: tuple[str, ...]) -> ProviderError:
    """Return why an order was not taken, or that nobody can say whether it was."""
    body = _parse(reply)
    code = _classify(reply, body)
    if reply.status in GATEWAY_IN_DOUBT and not body.is_typed:
        code = ErrorCode.OUTCOME_UNKNOWN
    return ProviderError(code, **_wording(reply, body, secrets))


def error_of_question(reply: Reply, *, secrets: tuple[str, ...]) -> ProviderError:
    """Return why a question about a job was not answered.

    A job that fal does not know any more may have been carried out: only a person can look.
    """
    body = _parse(reply)
    wording = _wording(reply, body, secrets)
    if reply.status == 404:  # noqa: PLR2004
        return JobFailedError(ErrorCode.OUTCOME_UNKNOWN, **wording)
    return ProviderError(_classify(reply, body), **wording)


def error_of_result(reply: Reply, *, secrets: tuple[str, ...]) -> ProviderError:
    """Return how a job failed, or why the question about its result was not answered.

    Only a typed error is a verdict: an untyped 500 may be of the queue itself, with the result behind it.
    """
    body = _parse(reply)
    is_early = reply.status == 400 and "in progress" in body.message.lower()  # noqa: PLR2004
    if is_early or reply.status < 400:  # noqa: PLR2004
        return ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, **_wording(reply, body, secrets))
    if not body.is_typed and (reply.status in _NO_VERDICT or reply.status >= 500):  # noqa: PLR2004
        return error_of_question(reply, secrets=secrets)
    return JobFailedError(_classify(reply, body), **_wording(reply, body, secrets))


def _classify(reply: Reply, body: _Body) -> ErrorCode:
    code = _BY_TYPE.get(body.kind)
    if code is None:
        code = _classify_status(reply.status, body)
    is_hopeless = reply.headers.get("x-fal-retryable", "").lower() == "false"
    if is_hopeless and code == ErrorCode.PROVIDER_UNAVAILABLE:
        return ErrorCode.INVALID_REQUEST  # fal says that this very request can never succeed.
    return code


def _classify_status(status: int, body: _Body) -> ErrorCode:
    message = body.message.lower()
    if status == 403 and ("locked" in message or "balance" in message):  # noqa: PLR2004
        return ErrorCode.QUOTA_EXHAUSTED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:  # noqa: PLR2004
        return ErrorCode.CONFIGURATION
    return ErrorCode.PROVIDER_UNAVAILABLE if status >= 500 else ErrorCode.INVALID_REQUEST  # noqa: PLR2004


def _wording(reply: Reply, body: _Body, secrets: tuple[str, ...]) -> dict[str, Any]:
    return {
        "message": body.message or f"The provider answered with status {reply.status}.",
        "provider_code": body.kind or f"http_{reply.status}",
        "retry_after_seconds": retry_after(reply.headers),
        "secrets": secrets,
    }


def _parse(reply: Reply) -> _Body:
    kind = reply.headers.get("x-fal-error-type", "")
    payload = parse_object(reply.body)
    detail = payload.get("detail", payload.get("error"))
    if isinstance(detail, list):
        errors = [error for error in detail if isinstance(error, dict)]
        first = next((str(error["type"]) for error in errors if error.get("type")), kind)
        return _Body(message="; ".join(_sentence(error) for error in errors), kind=first, is_typed=True)
    if isinstance(payload.get("error_type"), str):
        kind = payload["error_type"] or kind
    return _Body(message=detail if isinstance(detail, str) else "", kind=kind, is_typed=bool(kind))


def _sentence(error: Mapping[str, Any]) -> str:
    """One typed error in words: where it lies in the request, and what is wrong there."""
    place = error.get("loc")
    names = [str(part) for part in place if part != "body"] if isinstance(place, list) else []
    message = str(error.get("msg") or error.get("type") or "")
    return f"{'.'.join(names)}: {message}" if names else message
