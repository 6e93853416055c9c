"""The contract between the engine and whoever makes pictures: requests, results, errors, protocols.

Nothing here knows Django: values come in, values go out; credentials and the HTTP client are handed in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from mayagen.common.spooling import Spool

TEXT_TO_IMAGE: Final = "text_to_image"
IMAGE_EDIT: Final = "image_edit"
INPAINTING: Final = "inpainting"

InputRole = Literal["reference", "mask"]
JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]

MAX_MESSAGE_CHARS: Final = 500
MAX_METADATA_CHARS: Final = 40_000
MAX_METADATA_ITEMS: Final = 100
MAX_RETRY_AFTER_SECONDS: Final = 86_400.0
_CREDENTIAL = re.compile(r"(?:\b(?:sk|pk|key|mgk)[-_][A-Za-z0-9*_\-]{6,}|\bBearer\s+\S+)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One image handed to the provider; its bytes have been validated before.

    A mask's transparent pixels mark what to repaint; in a mask without transparency the white ones do.
    """

    role: InputRole
    content: bytes = field(repr=False)
    mime_type: str


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """All that one call needs.

    Args:
        endpoint: The provider's own name of the model or deployment.
        kind: `text_to_image`, `image_edit` or `inpainting`.
        parameters: Checked against the model's JSON Schema by the caller; passed through as they are.
        seed: None lets the provider choose.
        width_px: None, together with `height_px`, leaves the size to the provider.
        idempotency_key: The same for every repetition of one attempt.
        timeout_seconds: For the whole call, the download of its pictures included.
        webhook_url: Where the provider may tell us that the job has ended; empty for no webhook.
    """

    endpoint: str
    kind: str
    prompt: str
    system_prompt: str
    negative_prompt: str
    parameters: Mapping[str, Any]
    seed: int | None
    n_outputs: int
    width_px: int | None
    height_px: int | None
    inputs: Sequence[InputFile]
    idempotency_key: str
    timeout_seconds: float
    webhook_url: str = ""

    @property
    def references(self) -> tuple[InputFile, ...]:
        """The input images that are not masks, in their order."""
        return tuple(file for file in self.inputs if file.role == "reference")

    @property
    def mask(self) -> InputFile | None:
        """The first mask, if there is one."""
        return next((file for file in self.inputs if file.role == "mask"), None)


@dataclass(frozen=True, slots=True)
class ProviderOutput:
    """One picture as the provider sent it, kept on disk unless it is small: not yet checked or decoded."""

    body: Spool = field(repr=False)

    @property
    def content(self) -> bytes:
        """Return its bytes."""
        return bytes(self.body.read())


@dataclass(frozen=True, slots=True)
class ProviderResult:
    """What a successful call brought: at least one output, perhaps fewer than were asked for.

    Args:
        cost_usd: None unless the reply itself names a price.
        warning: A sentence for people, or empty.
        metadata: JSON-ready facts such as usage or a revised prompt; never credentials.
    """

    outputs: Sequence[ProviderOutput]
    provider_request_id: str | None = None
    cost_usd: Decimal | None = None
    warning: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an adapter can do; whatever is not named it cannot.

    Args:
        job_ids: It is a `JobProvider`: work is submitted, then asked for by its id.
        idempotency_keys: A repeated call with the same key is neither run nor paid for twice.
        webhooks: It is a `WebhookProvider`.
        bulk_poll: It is a `BulkPollProvider`.
    """

    job_ids: bool = False
    idempotency_keys: bool = False
    cancel: bool = False
    webhooks: bool = False
    bulk_poll: bool = False
    masks: bool = False
    seeds: bool = False
    several_outputs: bool = False


class ErrorCode(StrEnum):
    """The one classification of everything that can go wrong with a call."""

    REFUSED = "refused"
    INVALID_REQUEST = "invalid_request"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    TIMEOUT = "timeout"
    BAD_OUTPUT = "bad_output"
    OUTCOME_UNKNOWN = "outcome_unknown"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """Whether the same call may be made again without asking a person, and a sentence for people."""

    retryable: bool
    sentence: str


# bad_output and outcome_unknown are not retryable: the provider may have made, and charged for, a picture.
ERROR_FACTS: Final[Mapping[ErrorCode, ErrorFacts]] = MappingProxyType(
    {
        ErrorCode.REFUSED: ErrorFacts(
            retryable=False, sentence="The provider refused the request under its content policy."
        ),
        ErrorCode.INVALID_REQUEST: ErrorFacts(
            retryable=False, sentence="The provider did not accept the request as it was written."
        ),
        ErrorCode.RATE_LIMITED: ErrorFacts(
            retryable=True, sentence="The provider asked to slow down; the request will be repeated later."
        ),
        ErrorCode.QUOTA_EXHAUSTED: ErrorFacts(
            retryable=False, sentence="The account at the provider has no credit or quota left."
        ),
        ErrorCode.PROVIDER_UNAVAILABLE: ErrorFacts(
            retryable=True, sentence="The provider could not be reached or failed on its side."
        ),
        ErrorCode.TIMEOUT: ErrorFacts(
            retryable=True, sentence="The provider did not take up the request in time."
        ),
        ErrorCode.BAD_OUTPUT: ErrorFacts(
            retryable=False, sentence="The provider answered, but not with a usable image."
        ),
        ErrorCode.OUTCOME_UNKNOWN: ErrorFacts(
            retryable=False,
            sentence="The connection was lost after the request was sent: it may have been carried out.",
        ),
        ErrorCode.CONFIGURATION: ErrorFacts(
            retryable=False, sentence="The model's address, name or key is not accepted by the provider."
        ),
    }
)


class ProviderError(Exception):
    """A call that brought no result, classified once for engine, statistics and people.

    Args:
        message: The provider's own words; cut, and freed of credentials and control characters.
        provider_code: The provider's own code, such as `moderation_blocked`.
        retry_after_seconds: How long the provider asked to wait, if it did.
        is_charged: The call is paid for although it brought nothing; one more would be paid for again.
        secrets: Values that must not appear in the message.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str = "",
        *,
        provider_code: str | None = None,
        retry_after_seconds: float | None = None,
        is_charged: bool = False,
        secrets: Sequence[str] = (),
    ) -> None:
        self.code = code
        self.is_charged = is_charged
        self.message = clean_message(message, secrets)
        self.provider_code = clean_message(provider_code, secrets)[:100] if provider_code else None
        self.retry_after_seconds = _bounded_wait(retry_after_seconds)
        super().__init__(f"{code}: {self.message or self.sentence}")

    @property
    def retryable(self) -> bool:
        """Whether the engine may repeat the call by itself."""
        return ERROR_FACTS[self.code].retryable and not self.is_charged

    @property
    def sentence(self) -> str:
        """A sentence for people that holds whatever the provider said."""
        return ERROR_FACTS[self.code].sentence


class JobFailedError(ProviderError):
    """The job itself has ended with this error, so asking for its result again brings the same.

    Any other error of `poll`, `fetch` and `cancel` says only that the question got no answer.
    """


def clean_message(message: str, secrets: Sequence[str] = ()) -> str:
    """Return a foreign message without credentials and control characters, cut to 500 characters."""
    for secret in secrets:
        if secret:
            message = message.replace(secret, "[key]")
    message = _CREDENTIAL.sub("[key]", message[: MAX_MESSAGE_CHARS * 4])
    return clean_text(message).strip()[:MAX_MESSAGE_CHARS]


def to_storable(value: Any, *, depth: int = 6) -> Any:
    """Return a foreign JSON value as any database's JSON column takes it.

    Control characters, lone surrogates, NaN and infinities go; long texts, lists and depths are cut.
    """
    match value:
        case str():
            return clean_text(value)[:MAX_METADATA_CHARS]
        case bool() | None | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict() if depth:
            items = list(value.items())[:MAX_METADATA_ITEMS]
            return {clean_text(str(name)): to_storable(item, depth=depth - 1) for name, item in items}
        case list() if depth:
            return [to_storable(item, depth=depth - 1) for item in value[:MAX_METADATA_ITEMS]]
    return None


def clean_text(text: str) -> str:
    """Return the text with a space for each run of control characters and lone surrogates."""
    return _CONTROL.sub(" ", text)


def _bounded_wait(seconds: float | None) -> float | None:
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS)


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """How to reach the provider for one model.

    Args:
        base_url: Empty for the adapter's own default.
        endpoint: The provider's own name of the model; needed where an id says nothing without it.
        options: Adapter settings that are not parameters of a picture, such as Azure's `api_version`.
        spool_folder: Where pictures are kept until they are stored; None for the system's own place.
    """

    base_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    endpoint: str = ""
    spool_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class JobState:
    """Where a submitted job stands.

    Args:
        progress: From 0 to 1, where the provider tells it.
        is_charged: Of a job that was cancelled: it had begun by then, and what it did is charged.
    """

    status: JobStatus
    progress: float | None = None
    is_charged: bool = False


@dataclass(frozen=True, slots=True)
class WebhookNews:
    """What a verified webhook tells: only that a job should be asked for now.

    Args:
        job_id: As `submit` returns it.
    """

    job_id: str


class WebhookRefusedError(Exception):
    """The webhook's signature, time or form is not the provider's; its text is for the log."""


class Provider(Protocol):
    """An adapter whose one call blocks until the pictures are there."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def generate(self, request: ProviderRequest) -> ProviderResult:
        """Make the pictures.

        Raises:
            ProviderError: For everything that goes wrong; it never repeats the call by itself.
        """
        ...


class JobProvider(Protocol):
    """An adapter that hands out a job id at once and is asked for the result later."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def submit(self, request: ProviderRequest) -> str:
        """Start the job and return its id at the provider."""
        ...

    async def poll(self, job_id: str) -> JobState:
        """Return where the job stands."""
        ...

    async def fetch(self, job_id: str) -> ProviderResult:
        """Return the result of a job that has succeeded; raise `JobFailedError` if it failed."""
        ...

    async def cancel(self, job_id: str) -> None:
        """Ask the provider to stop the job; a finished or unknown job is no error."""
        ...


class BulkPollProvider(JobProvider, Protocol):
    """A `JobProvider` that can be asked for many jobs in few requests."""

    async def poll_many(self, job_ids: Sequence[str]) -> Mapping[str, JobState]:
        """Return where the jobs stand; one that the answer leaves out is to be polled alone."""
        ...


class WebhookProvider(JobProvider, Protocol):
    """A `JobProvider` that calls `ProviderRequest.webhook_url` when a job ends."""

    async def read_webhook(self, *, headers: Mapping[str, str], body: bytes, now: float) -> WebhookNews:
        """Return what a webhook tells, after its signature has been verified.

        Args:
            headers: As they came, names in any case.
            body: The very bytes that came.
            now: Seconds since 1970; a signature too far from it is refused.

        Raises:
            WebhookRefusedError: It is not the provider's, or too old.
            ProviderError: What it must be verified with could not be fetched.
        """
        ...
