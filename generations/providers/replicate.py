"""Replicate's predictions: an order is answered with an id at once, and its result is asked for later.

Sources: Replicate's documentation (HTTP API, Create a prediction, Prediction lifecycle, Data retention, Input
files, Rate limits) and its client for Python. The API knows no idempotency key, so an order whose reply was
lost is never repeated.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import aiohttp
from yarl import URL

from generations.providers.base import (
    Capabilities,
    ErrorCode,
    InputFile,
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
from generations.providers.inputs import to_data_uri
from generations.providers.pictures import Picture, collect_pictures, read_picture
from generations.providers.replicate_errors import (
    error_of_order,
    error_of_prediction,
    error_of_question,
    error_of_upload,
    is_stopped_late,
)
from generations.providers.replicate_inputs import field_name, write_input
from generations.providers.replicate_webhooks import verify_webhook
from generations.providers.replies import parse_object, read_by_size
from generations.providers.transport import BROKEN_CALLS, Reply, error_from_transport, placing_order, send
from mayagen.common.http_safety import InvalidAddressError, parse_public_url
from mayagen.common.spooling import SpoolError

DEFAULT_BASE_URL: Final = "https://api.replicate.com"
ORDER_TIMEOUT_SECONDS: Final = 120.0
QUESTION_TIMEOUT_SECONDS: Final = 30.0
RESULT_TIMEOUT_SECONDS: Final = 180.0
# Larger files are uploaded first: "Use a data URL when you have a small file <= 256kb".
MAX_DATA_URI_BYTES: Final = 256 * 1024
MAX_UPLOAD_BYTES: Final = 100 * 1000 * 1000
MAX_WAIT_SECONDS: Final = 60
MIN_CANCEL_AFTER_SECONDS: Final = 5
# Replicate stops by itself what we have no more hands to stop; while we have, our own deadline comes first.
CANCEL_GRACE_SECONDS: Final = 60
# A prediction repeats its input, data URIs included, and a list holds a hundred of them.
MAX_REPLY_BYTES: Final = 64 * 2**20
PAGE_SIZE: Final = 100
MAX_EXTRA_PAGES: Final = 3
_MAX_OUTPUT_DEPTH: Final = 3
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_NAME: Final = r"[A-Za-z0-9][\w.-]{0,99}"
_MODEL: Final = re.compile(rf"{_NAME}/{_NAME}", re.ASCII)
_DEPLOYMENT: Final = re.compile(rf"deployments/{_NAME}/{_NAME}", re.ASCII)
_VERSION: Final = re.compile(rf"(?:{_NAME}/{_NAME}:)?[0-9a-f]{{64}}", re.ASCII)
_PROGRESS: Final = re.compile(r"(\d{1,3})%\s?\|")
_ECHOED_FIELDS: Final = ("metrics", "model", "version", "deployment")
_STATES: Final[Mapping[str, JobStatus]] = {
    "queued": "queued",
    "starting": "queued",
    "processing": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "cancelled",
    # It met its deadline before it began, which `fetch` tells: there is nobody who cancelled it.
    "aborted": "failed",
}


class ReplicateProvider:
    """Any image model of Replicate's; a job id is the prediction's id.

    The endpoint is an official model (`owner/name`), a version (`owner/name:` and 64 hexadecimal digits, or
    the digits alone) or a deployment (`deployments/owner/name`). Options:

    - `prompt_field`, `negative_prompt_field`, `seed_field`, `count_field`, `image_field`, `mask_field`: what
      the model calls these; empty where it has no such thing. A plural, or `name[]`, takes a list of images.
    - `size_as`: `width_height`, `aspect_ratio` or `nothing`.
    - `wait_seconds`: how long, up to 60, an order may stay open for quick models; 0 for not at all.
    - `cancel_after_seconds`: when Replicate stops a prediction by itself; 0 for never.
    """

    name = "replicate"

    def __init__(self, config: ProviderConfig, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._api_key = config.api_key or ""
        self._options = config.options
        self._folder = config.spool_folder
        try:
            url = parse_public_url(config.base_url or DEFAULT_BASE_URL)
        except InvalidAddressError as error:
            raise ProviderError(ErrorCode.CONFIGURATION, str(error)) from error
        self._base_url = f"{str(url).rstrip('/').removesuffix('/v1')}/v1"

    @property
    def capabilities(self) -> Capabilities:
        """All that has to do with jobs; the rest as far as the model is said to have fields for it."""
        return Capabilities(
            job_ids=True,
            cancel=True,
            webhooks=True,
            bulk_poll=True,
            masks=bool(field_name(self._options, "mask_field")),
            seeds=bool(field_name(self._options, "seed_field")),
            several_outputs=bool(field_name(self._options, "count_field")),
        )

    async def submit(self, request: ProviderRequest) -> str:
        """Order the pictures once.

        Raises:
            ProviderError: Classified; `outcome_unknown` when Replicate may have taken the order all the same.
        """
        path, fields = _order_of(request.endpoint)
        fields["input"] = await write_input(request, self._options, place_file=self._place_file)
        if request.webhook_url:
            fields.update(webhook=request.webhook_url, webhook_events_filter=["completed"])
        headers = {"Content-Type": "application/json", **self._order_headers(request)}
        timeout_seconds = min(ORDER_TIMEOUT_SECONDS, request.timeout_seconds)
        body = json.dumps(fields).encode()
        with placing_order(self._api_key):
            reply = await self._send("POST", path, timeout_seconds, headers=headers, data=io.BytesIO(body))
        if reply.status not in {200, 201, 202}:
            raise error_of_order(reply, secrets=(self._api_key,))
        job_id = str((await _parse(reply.body)).get("id") or "")
        if not _ID.fullmatch(job_id):
            raise ProviderError(ErrorCode.OUTCOME_UNKNOWN, "The order was answered without an id.")
        return job_id

    async def poll(self, job_id: str) -> JobState:
        """Return where the job stands."""
        return _state(await self._prediction(job_id))

    async def poll_many(self, job_ids: Sequence[str]) -> Mapping[str, JobState]:
        """Return where the jobs stand, from the list of all predictions of the account, the newest first."""
        wanted, found = set(job_ids), dict[str, JobState]()
        query: Mapping[str, str] = {}
        for _ in range(math.ceil(len(wanted) / PAGE_SIZE) + MAX_EXTRA_PAGES):
            url = str(URL("/predictions").with_query(query))
            page = await _parse((await self._ask("GET", url)).body)
            results = page.get("results")
            for prediction in results if isinstance(results, list) else []:
                is_known = isinstance(prediction, dict) and str(prediction.get("status")) in _STATES
                if is_known and prediction.get("id") in wanted:
                    found[prediction["id"]] = _state(prediction)
            query = _next_query(page.get("next"))
            if not query or len(found) == len(wanted):
                break
        return found

    async def fetch(self, job_id: str) -> ProviderResult:
        """Return the pictures of a job that has ended, fetched at once: Replicate drops them after an hour.

        Raises:
            JobFailedError: The job brought none, and never will.
            ProviderError: The question got no answer, or a picture could not be fetched for now.
        """
        deadline = time.monotonic() + RESULT_TIMEOUT_SECONDS
        prediction = await self._prediction(job_id)
        status = _state(prediction).status
        if status in {"queued", "running"}:
            raise ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, "The prediction has not ended yet.")
        if status != "succeeded":
            raise error_of_prediction(prediction, secrets=(self._api_key,))
        texts = list(_texts(prediction.get("output")))
        try:
            pictures = await read_by_size(sum(map(len, texts)), self._read_pictures, texts)
            found = await collect_pictures(self._session, pictures, deadline=deadline, folder=self._folder)
        except SpoolError as error:
            raise error_from_transport(error, self._api_key, only_asks=True) from error
        if found.is_passing:
            raise ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, "; ".join(found.failures))
        if not found.outputs:
            is_gone = found.is_gone or prediction.get("data_removed") is True
            raise self._error_of_no_output(found.failures, is_gone=is_gone)
        return ProviderResult(
            outputs=found.outputs,
            provider_request_id=job_id,
            warning=self._warning(prediction, len(found.outputs), found.failures),
            metadata={
                name: to_storable(prediction[name])
                for name in _ECHOED_FIELDS
                if prediction.get(name) is not None
            },
        )

    async def cancel(self, job_id: str) -> None:
        """Ask Replicate to stop the prediction; whether it does is for `poll` to tell."""
        reply = await self._question("POST", f"/predictions/{_checked(job_id)}/cancel")
        is_refused = 400 <= reply.status < 500 and reply.status not in {401, 402, 403, 408, 429}  # noqa: PLR2004
        if reply.status not in {200, 201, 202, 204} and not is_refused:
            raise error_of_question(reply, secrets=(self._api_key,))

    async def read_webhook(self, *, headers: Mapping[str, str], body: bytes, now: float) -> WebhookNews:
        """Return which job has ended; its result is for `poll` and `fetch` to ask."""
        account = f"{self._base_url} {hashlib.sha256(self._api_key.encode()).hexdigest()}"
        await verify_webhook(
            account=account, fetch_secret=self._fetch_webhook_secret, headers=headers, body=body, now=now
        )
        job_id = (await _parse(body)).get("id")
        if not isinstance(job_id, str) or not _ID.fullmatch(job_id):
            raise WebhookRefusedError("The webhook names no prediction.")
        return WebhookNews(job_id=job_id)

    def _order_headers(self, request: ProviderRequest) -> dict[str, str]:
        headers = {}
        wait = min(MAX_WAIT_SECONDS, int(_number(self._options, "wait_seconds", 0)))
        if wait > 0:
            # The id comes only with the answer: half of our time is left to a slow one.
            headers["Prefer"] = f"wait={max(1, min(wait, int(request.timeout_seconds / 2)))}"
        usual = math.ceil(request.timeout_seconds) + CANCEL_GRACE_SECONDS
        cancel_after = int(_number(self._options, "cancel_after_seconds", usual))
        if cancel_after > 0:
            headers["Cancel-After"] = f"{max(MIN_CANCEL_AFTER_SECONDS, cancel_after)}s"
        return headers

    async def _place_file(self, file: InputFile) -> str:
        """A data URI, or the address of the uploaded file, which Replicate keeps for a day."""
        if len(file.content) <= MAX_DATA_URI_BYTES:
            return to_data_uri(file)
        if len(file.content) > MAX_UPLOAD_BYTES:
            raise ProviderError(ErrorCode.INVALID_REQUEST, "Replicate takes input files of up to 100 MB.")
        form = aiohttp.FormData(default_to_multipart=True)
        name = f"{file.role}.{file.mime_type.partition('/')[2] or 'png'}"
        form.add_field("content", file.content, filename=name, content_type=file.mime_type)
        reply = await self._question("POST", "/files", timeout_seconds=ORDER_TIMEOUT_SECONDS, data=form)
        if reply.status not in {200, 201}:
            raise error_of_upload(reply, secrets=(self._api_key,))
        urls = (await _parse(reply.body)).get("urls")
        address = urls.get("get") if isinstance(urls, dict) else None
        if not isinstance(address, str) or not address:
            raise ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, "The upload was answered without an address.")
        return address

    async def _prediction(self, job_id: str) -> dict[str, Any]:
        try:
            reply = await self._ask("GET", f"/predictions/{_checked(job_id)}")
        except ProviderError as error:
            if error.code == ErrorCode.BAD_OUTPUT:  # It is too long to be read, and will not become shorter.
                raise JobFailedError(error.code, error.message) from error
            raise
        prediction = await _parse(reply.body)
        if str(prediction.get("status")) not in _STATES:
            raise ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, "The reply names no known status.")
        return prediction

    def _read_pictures(self, texts: Sequence[str]) -> list[Picture]:
        return [read_picture(text, folder=self._folder) for text in texts]

    async def _fetch_webhook_secret(self) -> bytes:
        return (await self._ask("GET", "/webhooks/default/secret")).body

    async def _ask(self, method: str, path: str) -> Reply:
        reply = await self._question(method, path)
        if reply.status != 200:  # noqa: PLR2004
            raise error_of_question(reply, secrets=(self._api_key,))
        return reply

    async def _question(
        self, method: str, path: str, *, timeout_seconds: float = QUESTION_TIMEOUT_SECONDS, data: Any = None
    ) -> Reply:
        """Make a call that starts nothing and costs nothing."""
        try:
            return await self._send(method, path, timeout_seconds, data=data)
        except BROKEN_CALLS as error:
            raise error_from_transport(error, self._api_key, only_asks=True) from error

    async def _send(
        self,
        method: str,
        path: str,
        timeout_seconds: float,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> Reply:
        key = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        return await send(
            self._session,
            method,
            f"{self._base_url}{path}",
            headers={**key, **(headers or {})},
            timeout_seconds=timeout_seconds,
            max_bytes=MAX_REPLY_BYTES,
            data=data,
        )

    def _error_of_no_output(self, failures: Sequence[str], *, is_gone: bool) -> JobFailedError:
        if is_gone:
            message = "The pictures are gone: Replicate drops them one hour after the prediction."
            return JobFailedError(ErrorCode.BAD_OUTPUT, message, provider_code="output_expired")
        reason = "; ".join(failures) or "The prediction holds no image."
        return JobFailedError(ErrorCode.BAD_OUTPUT, reason, secrets=(self._api_key,))

    def _warning(self, prediction: Mapping[str, Any], n_received: int, failures: Sequence[str]) -> str:
        """What is missing, by the number that was asked for, which the prediction repeats."""
        given = prediction.get("input")
        n_wanted = given.get(field_name(self._options, "count_field")) if isinstance(given, dict) else None
        if isinstance(n_wanted, int) and n_received < n_wanted:
            return " ".join([f"The provider delivered {n_received} of {n_wanted} images.", *failures])
        return " ".join(failures)


def _order_of(endpoint: str) -> tuple[str, dict[str, Any]]:
    """Where predictions of this endpoint are created, and what names the version there."""
    if _VERSION.fullmatch(endpoint):
        return "/predictions", {"version": endpoint}
    if _DEPLOYMENT.fullmatch(endpoint):
        return f"/{endpoint}/predictions", {}
    if _MODEL.fullmatch(endpoint):
        return f"/models/{endpoint}/predictions", {}
    message = "The model must be named like owner/name, owner/name:version or deployments/owner/name."
    raise ProviderError(ErrorCode.CONFIGURATION, message)


def _checked(job_id: str) -> str:
    if not _ID.fullmatch(job_id):
        raise JobFailedError(ErrorCode.OUTCOME_UNKNOWN, "The job's id is none of Replicate's.")
    return job_id


def _number(options: Mapping[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ProviderError(ErrorCode.CONFIGURATION, f"{name} must be a number of seconds.")
    return value


def _state(prediction: Mapping[str, Any]) -> JobState:
    status = _STATES[str(prediction["status"])]
    if status == "cancelled" and is_stopped_late(prediction):
        status = "failed"
    logs = prediction.get("logs")
    shares = _PROGRESS.findall(logs[-2000:]) if status == "running" and isinstance(logs, str) else []
    return JobState(
        status,
        progress=min(int(shares[-1]), 100) / 100 if shares else None,
        # What has started is billed for as long as it ran (Replicate: Prediction lifecycle, Billing).
        is_charged=status == "cancelled" and bool(prediction.get("started_at")),
    )


def _next_query(cursor: object) -> Mapping[str, str]:
    """The query of the next page; its host and path are ours, wherever the reply points."""
    if not isinstance(cursor, str) or not cursor:
        return {}
    try:
        return dict(URL(cursor).query)
    except ValueError:
        return {}


def _texts(output: object, depth: int = _MAX_OUTPUT_DEPTH) -> Iterator[str]:
    """The addresses and data URIs of an output, which may be one text, a list or an object."""
    match output:
        case str() if output.startswith(("http://", "https://", "data:")):
            yield output
        case list() if depth:
            for item in output:
                yield from _texts(item, depth - 1)
        case dict() if depth:
            for item in output.values():
                yield from _texts(item, depth - 1)


async def _parse(content: bytes) -> dict[str, Any]:
    return await read_by_size(len(content), parse_object, content)
