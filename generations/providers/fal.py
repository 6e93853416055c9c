"""fal.ai's queue: an order is answered with a request id at once, and its result is asked for later.

Sources: fal's documentation (Queue, Webhooks, Model errors, Request errors) and its client for Python, which
repeats an order whose reply was lost; this adapter never does.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
from yarl import URL

from generations.providers.base import (
    Capabilities,
    ErrorCode,
    JobFailedError,
    JobState,
    JobStatus,
    ProviderConfig,
    ProviderError,
    ProviderRequest,
    ProviderResult,
    WebhookNews,
    WebhookRefusedError,
    to_storable,
)
from generations.providers.fal_errors import (
    CANCELLED_TYPE,
    error_of_order,
    error_of_question,
    error_of_result,
)
from generations.providers.fal_inputs import field_name, write_body
from generations.providers.fal_webhooks import verify_webhook
from generations.providers.pictures import Picture, collect_pictures, read_picture
from generations.providers.replies import parse_object, read_by_size
from generations.providers.transport import (
    BROKEN_CALLS,
    Reply,
    error_from_transport,
    first_header,
    placing_order,
    send,
)
from mayagen.common.http_safety import (
    InvalidAddressError,
    ReplyTooLargeError,
    parse_public_url,
)
from mayagen.common.spooling import SpoolError

DEFAULT_BASE_URL: Final = "https://queue.fal.run"
DEFAULT_JWKS_URL: Final = "https://rest.fal.ai/.well-known/jwks.json"
MAX_JOB_ID_CHARS: Final = 200
ORDER_TIMEOUT_SECONDS: Final = 120.0
QUESTION_TIMEOUT_SECONDS: Final = 30.0
RESULT_TIMEOUT_SECONDS: Final = 180.0
MAX_REPLY_BYTES: Final = 2**20
# Some models answer with data URIs whatever they are asked.
MAX_RESULT_BYTES: Final = 64 * 2**20
_NAMESPACES: Final = frozenset({"workflows", "comfy"})
_ENDPOINT: Final = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)+", re.ASCII)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_ECHOED_FIELDS: Final = ("seed", "prompt", "timings", "description")
_STATES: Final[Mapping[str, JobStatus]] = {
    "IN_QUEUE": "queued",
    "IN_PROGRESS": "running",
    "COMPLETED": "succeeded",
    # Not in fal's documentation, but in schemas that others derived from its answers.
    "FAILED": "failed",
    "CANCELED": "cancelled",
    "CANCELLED": "cancelled",
}


class FalProvider:
    """Any image model of fal's; the endpoint is its id, such as `fal-ai/flux/dev`.

    A job id is the request's place in the queue (`fal-ai/flux/requests/…`), because fal finds a request
    only together with its model. Options:

    - `jwks_url`: where the keys are published by which webhooks are verified; when empty, fal's own, or
      those of the host that the base URL names.
    - `prompt_field`, `negative_prompt_field`, `seed_field`, `count_field`, `size_field`, `image_field`,
      `mask_field`: what the model calls these; empty where it has no such thing.
    - `size_as`: `pixels` (as `size_field`), `aspect_ratio`, `width_height` or `nothing`.
    - `keeps_flagged`: whether pictures that fal's safety checker has flagged (they come black) are kept.
    """

    name = "fal"

    def __init__(self, config: ProviderConfig, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._api_key = config.api_key or ""
        self._options = config.options
        self._endpoint = config.endpoint
        self._folder = config.spool_folder
        self._called_off: set[str] = set()
        try:
            base_url = parse_public_url(config.base_url or DEFAULT_BASE_URL)
            self._base_url = str(base_url).rstrip("/")
            self._jwks_url = str(parse_public_url(str(config.options.get("jwks_url") or _jwks_url(base_url))))
        except InvalidAddressError as error:
            raise ProviderError(ErrorCode.CONFIGURATION, str(error)) from error

    @property
    def capabilities(self) -> Capabilities:
        """Job ids, cancelling and webhooks; the rest as far as the model is said to have fields for it."""
        return Capabilities(
            job_ids=True,
            cancel=True,
            webhooks=True,
            masks=bool(field_name(self._options, "mask_field")),
            seeds=bool(field_name(self._options, "seed_field")),
            several_outputs=bool(field_name(self._options, "count_field")),
        )

    async def submit(self, request: ProviderRequest) -> str:
        """Order the pictures once.

        Raises:
            ProviderError: Classified; `outcome_unknown` when fal may have taken the order all the same.
        """
        app = _app_of(request.endpoint)
        headers = {"Content-Type": "application/json"}
        if request.timeout_seconds > 1:
            # How long it may wait to be begun: what begins after we have given up would be paid for nothing.
            headers["X-Fal-Request-Timeout"] = str(float(request.timeout_seconds))
        body = await write_body(request, self._options)
        url = URL(f"{self._base_url}/{request.endpoint}")
        if request.webhook_url:
            url = url.with_query(fal_webhook=request.webhook_url)
        timeout_seconds = min(ORDER_TIMEOUT_SECONDS, request.timeout_seconds)
        with placing_order(self._api_key):
            reply = await self._call("POST", url, timeout_seconds, headers=headers, data=io.BytesIO(body))
        if reply.status not in {200, 201, 202}:
            raise error_of_order(reply, secrets=(self._api_key,))
        payload = parse_object(reply.body)
        request_id = str(payload.get("request_id") or "")
        if not _REQUEST_ID.fullmatch(request_id):
            raise ProviderError(ErrorCode.OUTCOME_UNKNOWN, "The order was answered without a request id.")
        return self._place_in_queue(payload.get("response_url"), request_id) or _job_id(app, request_id)

    async def poll(self, job_id: str) -> JobState:
        """Return where the job stands."""
        reply = await self._ask("GET", f"{self._address(job_id)}/status")
        if reply.status == 404 and job_id in self._called_off:  # noqa: PLR2004
            return JobState("cancelled")  # What waited in the queue is removed from it.
        if reply.status not in {200, 202}:
            raise error_of_question(reply, secrets=(self._api_key,))
        payload = parse_object(reply.body)
        status = _STATES.get(str(payload.get("status")))
        if status is None:
            raise ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, "The reply names no known status.")
        if status == "succeeded" and payload.get("error_type") == CANCELLED_TYPE:
            status = "cancelled"
        elif status == "succeeded" and (payload.get("error") or payload.get("error_type")):
            status = "failed"  # A failed request ends as COMPLETED too.
        return JobState(status)

    async def fetch(self, job_id: str) -> ProviderResult:
        """Return the pictures of a job that has ended, fetched at once.

        Raises:
            JobFailedError: The job brought none, and never will.
            ProviderError: The question got no answer, or a picture could not be fetched for now.
        """
        deadline = time.monotonic() + RESULT_TIMEOUT_SECONDS
        reply = await self._ask("GET", self._address(job_id), max_bytes=MAX_RESULT_BYTES)
        if reply.status != 200:  # noqa: PLR2004
            raise await self._error_of_result(job_id, reply)
        try:
            payload, pictures, n_flagged = await read_by_size(len(reply.body), self._read_result, reply.body)
            found = await collect_pictures(self._session, pictures, deadline=deadline, folder=self._folder)
        except SpoolError as error:
            raise error_from_transport(error, self._api_key, only_asks=True) from error
        if found.is_passing:
            raise ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, "; ".join(found.failures))
        if not found.outputs:
            raise self._error_of_no_output(found.failures, n_flagged)
        return ProviderResult(
            outputs=found.outputs,
            provider_request_id=job_id.rpartition("/")[2],
            warning=_warning(n_flagged, found.failures),
            metadata=_metadata(payload, reply.headers),
        )

    async def cancel(self, job_id: str) -> None:
        """Ask fal to drop the job, or its runner to stop; whether it does is for `poll` to tell."""
        reply = await self._ask("PUT", f"{self._address(job_id)}/cancel")
        is_over = reply.status == 400 and b"ALREADY_COMPLETED" in reply.body  # noqa: PLR2004
        if reply.status in {200, 202}:
            self._called_off.add(job_id)
        elif reply.status not in {404, 409} and not is_over:
            raise error_of_question(reply, secrets=(self._api_key,))

    async def read_webhook(self, *, headers: Mapping[str, str], body: bytes, now: float) -> WebhookNews:
        """Return which job has ended; its result is for `poll` and `fetch` to ask."""
        await verify_webhook(self._session, self._jwks_url, headers=headers, body=body, now=now)
        request_id = parse_object(body).get("request_id")
        if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
            raise WebhookRefusedError("The webhook names no request.")
        return WebhookNews(job_id=_job_id(_app_of(self._endpoint), request_id))

    def _place_in_queue(self, response_url: object, request_id: str) -> str:
        """The part of the result's address that follows ours; empty if it leads anywhere else."""
        prefix = f"{self._base_url}/"
        if not isinstance(response_url, str) or not response_url.startswith(prefix):
            return ""
        place = response_url.removeprefix(prefix)
        is_sound = _ENDPOINT.fullmatch(place) and place.endswith(f"/requests/{request_id}")
        return place if is_sound and len(place) <= MAX_JOB_ID_CHARS else ""

    def _address(self, job_id: str) -> str:
        if len(job_id) > MAX_JOB_ID_CHARS or not _ENDPOINT.fullmatch(job_id):
            raise JobFailedError(ErrorCode.OUTCOME_UNKNOWN, "The job's id is none of fal's.")
        return f"{self._base_url}/{job_id}"

    async def _ask(self, method: str, address: str, *, max_bytes: int = MAX_REPLY_BYTES) -> Reply:
        try:
            return await self._call(method, URL(address), QUESTION_TIMEOUT_SECONDS, max_bytes=max_bytes)
        except ReplyTooLargeError as error:
            raise JobFailedError(ErrorCode.BAD_OUTPUT, str(error)) from error
        except BROKEN_CALLS as error:
            raise error_from_transport(error, self._api_key, only_asks=True) from error

    async def _call(
        self,
        method: str,
        url: URL,
        timeout_seconds: float,
        *,
        headers: Mapping[str, str] | None = None,
        data: io.BytesIO | None = None,
        max_bytes: int = MAX_REPLY_BYTES,
    ) -> Reply:
        key = {"Authorization": f"Key {self._api_key}"} if self._api_key else {}
        return await send(
            self._session,
            method,
            url,
            headers={**key, **(headers or {})},
            timeout_seconds=timeout_seconds,
            max_bytes=max_bytes,
            data=data,
        )

    def _read_result(self, body: bytes) -> tuple[dict[str, Any], list[Picture], int]:
        """The result, its pictures, and how many others the safety checker has flagged."""
        payload = parse_object(body)
        images = payload.get("images")
        if not isinstance(images, list):
            images = [payload["image"]] if payload.get("image") else []
        flags = payload.get("has_nsfw_concepts")
        if self._options.get("keeps_flagged") or not isinstance(flags, list):
            flags = []
        flagged = {index for index, flag in enumerate(flags) if flag is True}
        kept = [image for index, image in enumerate(images) if index not in flagged]
        texts = [image.get("url") if isinstance(image, dict) else image for image in kept]
        pictures = [read_picture(text, folder=self._folder) for text in texts]
        return payload, pictures, len(images) - len(kept)

    async def _error_of_result(self, job_id: str, reply: Reply) -> ProviderError:
        """How the job failed; where the reply leaves that open, its status tells."""
        error = error_of_result(reply, secrets=(self._api_key,))
        is_open = not isinstance(error, JobFailedError) and reply.status >= 500  # noqa: PLR2004
        if is_open and (await self.poll(job_id)).status == "failed":
            return JobFailedError(
                error.code, error.message, provider_code=error.provider_code, secrets=(self._api_key,)
            )
        return error

    def _error_of_no_output(self, failures: Sequence[str], n_flagged: int) -> JobFailedError:
        if n_flagged:
            message = "The safety checker flagged every image."
            return JobFailedError(ErrorCode.REFUSED, message, provider_code="has_nsfw_concepts")
        reason = "; ".join(failures) or "The result holds no image."
        return JobFailedError(ErrorCode.BAD_OUTPUT, reason, secrets=(self._api_key,))


def _jwks_url(base_url: URL) -> str:
    is_fal = base_url.origin() == URL(DEFAULT_BASE_URL)
    return DEFAULT_JWKS_URL if is_fal else str(base_url.origin() / ".well-known/jwks.json")


def _app_of(endpoint: str) -> str:
    """The part of a model's id by which its requests are found: owner and app, and their namespace."""
    parts = endpoint.split("/")
    n_parts = 3 if parts[0] in _NAMESPACES else 2
    if not _ENDPOINT.fullmatch(endpoint) or len(parts) < n_parts or len(endpoint) > MAX_JOB_ID_CHARS:
        raise ProviderError(ErrorCode.CONFIGURATION, "The model's id must be like fal-ai/flux/dev.")
    return "/".join(parts[:n_parts])


def _job_id(app: str, request_id: str) -> str:
    job_id = f"{app}/requests/{request_id}"
    if len(job_id) > MAX_JOB_ID_CHARS:
        raise ProviderError(ErrorCode.OUTCOME_UNKNOWN, "The request's id is too long to be kept.")
    return job_id


def _metadata(payload: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    metadata = {name: to_storable(payload[name]) for name in _ECHOED_FIELDS if payload.get(name) is not None}
    # How many of the model's units are charged; what a unit costs, no reply says.
    units = first_header(headers, ("x-fal-billable-units",))
    return {**metadata, "billable_units": units} if units else metadata


def _warning(n_flagged: int, failures: Sequence[str]) -> str:
    reasons = list(failures)
    if n_flagged:
        reasons.append(f"The safety checker flagged {n_flagged} of the images, which were left out.")
    return " ".join(reasons)
