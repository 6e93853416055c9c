"""What Replicate's refusals and failures mean in our vocabulary, for a call and for a prediction that failed.

Sources: Replicate's documentation (HTTP API, Rate limits, Prediction lifecycle, Error codes). A failed
prediction has one text as its error: the platform's own begin with a code such as `E1001`, all others are
the model's, in whatever words its author chose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from generations.providers.base import ErrorCode, JobFailedError, ProviderError
from generations.providers.replies import parse_object
from generations.providers.transport import CODES_BY_STATUS, GATEWAY_IN_DOUBT, Reply, retry_after

# Replicate says in words how long to wait: "resets in ~30s", "available in 1 second".
_WAIT: Final = re.compile(r"(?:resets|available) in ~?(\d{1,5}) ?s")
_CODE: Final = re.compile(r"\bE\d{3,4}\b")
_BY_CODE: Final[Mapping[str, ErrorCode]] = {
    "E005": ErrorCode.REFUSED,
    # Out of memory: the same input would run into the same wall.
    "E1001": ErrorCode.INVALID_REQUEST,
    "E4875": ErrorCode.CONFIGURATION,
    # It was not begun in time, so nothing was made or charged.
    "E6716": ErrorCode.TIMEOUT,
}
_REFUSALS: Final = (
    "nsfw",
    "flagged as sensitive",
    "flagged by safety",
    "content policy",
    "content moderation",
    "safety filter",
    "safety system",
    "sensitive content",
    "inappropriate content",
)
# Replicate took its machine away: "Prediction interrupted; please retry (code: PA)".
_INTERRUPTED: Final = "prediction interrupted; please retry"
_INVALID: Final = ("input validation error", "invalid input", "must be one of", "field required")


def error_of_upload(reply: Reply, *, secrets: tuple[str, ...]) -> ProviderError:
    """Return why a file was not taken; whether it was all the same does not matter."""
    return ProviderError(_classify_status(reply.status), **_wording(reply, secrets))


def error_of_order(reply: Reply, *, secrets: tuple[str, ...]) -> ProviderError:
    """Return why a prediction was not created, or that nobody can say whether it was."""
    code = _classify_status(reply.status)
    if reply.status in GATEWAY_IN_DOUBT:
        code = ErrorCode.OUTCOME_UNKNOWN
    elif reply.status == 422 and b"version does not exist" in reply.body:  # noqa: PLR2004
        code = ErrorCode.CONFIGURATION
    return ProviderError(code, **_wording(reply, secrets))


def error_of_question(reply: Reply, *, secrets: tuple[str, ...]) -> ProviderError:
    """Return why a question was not answered.

    A prediction that Replicate does not know any more may have been carried out: only a person can look.
    """
    wording = _wording(reply, secrets)
    if reply.status in {404, 410}:
        return JobFailedError(ErrorCode.OUTCOME_UNKNOWN, **wording)
    return ProviderError(_classify_status(reply.status), **wording)


def error_of_prediction(prediction: Mapping[str, Any], *, secrets: tuple[str, ...]) -> JobFailedError:
    """Return how a prediction ended that did not succeed."""
    status = str(prediction.get("status"))
    message = prediction.get("error")
    message = message if isinstance(message, str) else ""
    if status == "aborted":
        message = message or "The deadline passed before the prediction could start; it is not charged."
        return JobFailedError(ErrorCode.TIMEOUT, message, provider_code=status, secrets=secrets)
    if status == "canceled":
        is_late = is_stopped_late(prediction)
        # It ran until its deadline, and is charged: another try would be too.
        code = ErrorCode.BAD_OUTPUT if is_late else ErrorCode.PROVIDER_UNAVAILABLE
        message = "It was stopped at its deadline while it ran." if is_late else "It was cancelled."
        return JobFailedError(code, message, provider_code=status)
    match = _CODE.search(message)
    code, provider_code = _classify_failure(message), match.group() if match else status
    message = message or "The prediction failed without saying why."
    return JobFailedError(code, message, provider_code=provider_code, secrets=secrets)


def _classify_failure(message: str) -> ErrorCode:
    """The model's own words are all there is; what they do not tell apart may have been charged."""
    lowered = message.lower()
    if any(words in lowered for words in _REFUSALS):
        return ErrorCode.REFUSED
    known = next((_BY_CODE[code] for code in _CODE.findall(message) if code in _BY_CODE), None)
    if known is not None:
        return known
    if _INTERRUPTED in lowered:
        return ErrorCode.PROVIDER_UNAVAILABLE
    if any(words in lowered for words in _INVALID):
        return ErrorCode.INVALID_REQUEST
    return ErrorCode.BAD_OUTPUT


def is_stopped_late(prediction: Mapping[str, Any]) -> bool:
    """Return whether it ended at its deadline or after it."""
    moments = [prediction.get("deadline"), prediction.get("completed_at")]
    try:
        deadline, ended = (datetime.fromisoformat(str(moment)) for moment in moments)
    except ValueError:
        return False
    return deadline.tzinfo == ended.tzinfo and ended >= deadline


def _classify_status(status: int) -> ErrorCode:
    if status in CODES_BY_STATUS:
        return CODES_BY_STATUS[status]
    if 300 <= status < 400:  # noqa: PLR2004
        return ErrorCode.CONFIGURATION
    return ErrorCode.PROVIDER_UNAVAILABLE if status >= 500 else ErrorCode.INVALID_REQUEST  # noqa: PLR2004


def _wording(reply: Reply, secrets: tuple[str, ...]) -> dict[str, Any]:
    problem = parse_object(reply.body)
    texts = [problem[name] for name in ("title", "detail") if isinstance(problem.get(name), str)]
    message = ": ".join(text.strip() for text in texts)
    wait = retry_after(reply.headers)
    if wait is None and (match := _WAIT.search(message)):
        wait = float(match.group(1))
    return {
        "message": message or f"The provider answered with status {reply.status}.",
        "provider_code": f"http_{reply.status}",
        "retry_after_seconds": wait,
        "secrets": secrets,
    }
