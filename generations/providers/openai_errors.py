"""What an OpenAI-compatible server's refusals, limits and failures mean in our vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from generations.providers.base import ErrorCode, ProviderError
from generations.providers.transport import retry_after

_REFUSALS: Final = frozenset(
    {
        "moderation_blocked",
        "content_policy_violation",
        "content_filter",
        "contentfilter",
        "content_filtered",
        "image_content_policy_violation",
        "responsibleaipolicyviolation",
        "safety_violation",
    }
)
_QUOTAS: Final = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "quota_exceeded",
        "insufficientquota",
    }
)
_CONFIGURATION: Final = frozenset(
    {"invalid_api_key", "model_not_found", "deploymentnotfound", "unknown_model", "invalid_organization"}
)
_BY_STATUS: Final[Mapping[int, ErrorCode]] = {
    400: ErrorCode.INVALID_REQUEST,
    401: ErrorCode.CONFIGURATION,
    402: ErrorCode.QUOTA_EXHAUSTED,
    403: ErrorCode.CONFIGURATION,
    404: ErrorCode.CONFIGURATION,
    405: ErrorCode.CONFIGURATION,
    408: ErrorCode.TIMEOUT,
    409: ErrorCode.PROVIDER_UNAVAILABLE,
    413: ErrorCode.INVALID_REQUEST,
    415: ErrorCode.INVALID_REQUEST,
    422: ErrorCode.INVALID_REQUEST,
    429: ErrorCode.RATE_LIMITED,
    # A gateway that gave up waiting does not know what became of the request behind it.
    504: ErrorCode.OUTCOME_UNKNOWN,
    524: ErrorCode.OUTCOME_UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class _ErrorBody:
    message: str
    code: str | None
    kind: str
    inner_code: str


def error_from_reply(
    *, status: int, headers: Mapping[str, str], body: bytes, secrets: tuple[str, ...]
) -> ProviderError:
    """Return the classified error of a reply that brought no pictures."""
    parsed = _parse_body(body)
    return ProviderError(
        _classify(status, parsed),
        parsed.message or f"The provider answered with status {status}.",
        provider_code=parsed.code or f"http_{status}",
        retry_after_seconds=retry_after(headers),
        secrets=secrets,
    )


def _classify(status: int, body: _ErrorBody) -> ErrorCode:
    names = {body.kind.lower(), (body.code or "").lower(), body.inner_code.lower()}
    if names & _REFUSALS:
        return ErrorCode.REFUSED
    if names & _QUOTAS:
        return ErrorCode.QUOTA_EXHAUSTED
    if status == 403 and "resource" in body.message.lower() and "blocked" in body.message.lower():  # noqa: PLR2004
        # Azure blocks a whole resource, whatever the prompt: an outage, not a bad request.
        return ErrorCode.PROVIDER_UNAVAILABLE
    if names & _CONFIGURATION or 300 <= status < 400:  # noqa: PLR2004
        return ErrorCode.CONFIGURATION
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:  # noqa: PLR2004
        return ErrorCode.PROVIDER_UNAVAILABLE
    return ErrorCode.INVALID_REQUEST if status >= 400 else ErrorCode.BAD_OUTPUT  # noqa: PLR2004


def _parse_body(body: bytes) -> _ErrorBody:
    try:
        payload: Any = json.loads(body)
    except (ValueError, RecursionError):
        return _ErrorBody(message="", code=None, kind="", inner_code="")
    error = payload.get("error", payload) if isinstance(payload, dict) else payload
    if not isinstance(error, dict):
        return _ErrorBody(message=error if isinstance(error, str) else "", code=None, kind="", inner_code="")
    inner = error.get("inner_error") or error.get("innererror")
    inner_code = inner.get("code") if isinstance(inner, dict) else None
    message = error.get("message") or error.get("detail")
    return _ErrorBody(
        message=message if isinstance(message, str) else "",
        code=_text(error.get("code")) or _text(error.get("type")) or None,
        kind=_text(error.get("type")),
        inner_code=_text(inner_code),
    )


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
