"""A server that speaks fal's queue API, written from its public pages; its own client is content with it.

Jobs take no work: their state follows from the clock, and all send the same precomputed picture, so that
hundreds at once cost little. Webhooks are signed with a key whose public half is at `/.well-known/jwks.json`.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from tests.providers.fal_delivery import WEBHOOKS, Delivery, Signer
from tests.providers.fal_faults import (
    CANCELLED,
    FAULTS,
    FILE_FAULTS,
    JOB_ERRORS,
    ORDER_FAULTS,
    QUESTION_FAULTS,
    RESULT_FAULTS,
    JobError,
    gateway_page,
    model_error,
    plain_error,
)
from tests.providers.serving import ProtocolServer, running

API_KEY: Final = "0f1e2d3c-fa1f-4000-8000-000000000000:0123456789abcdef0123456789abcdef"
NAMESPACES: Final = ("workflows", "comfy")
MAX_IMAGES: Final = 4
SIZES: Final = (
    "square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9",
)  # fmt: skip
# By the last part of a model's id.
NEEDED_IMAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "image-to-image": ("image_url",),
    "edit": ("image_urls",),
    "inpainting": ("image_url", "mask_url"),
}
_ORDER_DICE: Final = ("rate_limited", "server_error", "hang", "dropped")
_FILE_DICE: Final = ("truncated", "wrong_type")


@dataclass
class Behaviour:
    """What the next requests meet; may be changed while the server runs.

    Args:
        delay_seconds: How long a job is in progress, after `queue_seconds` in the queue.
        fault: Empty, or one of `FAULTS`.
        first: How many orders (or questions, if the fault is one of theirs) it lasts; 0 means all.
        webhook: One of `WEBHOOKS`; empty for one webhook when the job ends.
        tells_errors: Whether the status of a failed job names its error, as it does since 2026.
        ignores_cancel: Runners finish what they have begun.
        forgets_cancelled: A cancelled job is unknown from then on, not completed with an error.
    """

    delay_seconds: float = 0.0
    queue_seconds: float = 0.0
    fault: str = ""
    first: int = 0
    retry_after: str = "2"
    webhook: str = ""
    webhook_delay_seconds: float = 0.5
    tells_errors: bool = True
    ignores_cancel: bool = False
    forgets_cancelled: bool = False
    file_redirect: str = "http://169.254.169.254/latest/meta-data"

    def __post_init__(self) -> None:
        assert self.fault in {"", *FAULTS}
        assert self.webhook in WEBHOOKS


@dataclass
class Job:
    """One order that was taken."""

    request_id: str
    app: str
    path: str
    arguments: Mapping[str, Any]
    key: str
    webhook_url: str
    begins_at: float
    ends_at: float
    fault: str = ""
    webhook: str = ""
    error: JobError | None = None
    has_ended: bool = False

    @property
    def n_images(self) -> int:
        """How many pictures it makes."""
        return int(self.arguments.get("num_images", 1))


@dataclass
class SeenRequest:
    """One order as it arrived."""

    endpoint: str
    headers: Mapping[str, str]
    arguments: Mapping[str, Any] = field(repr=False)
    webhook_url: str = ""


class FalServer(ProtocolServer):
    """The server's state: behaviour to set, counters, orders and the ledger to read."""

    name = "fal"
    fault_names = FAULTS
    behaviour: Behaviour

    def __init__(self, *, api_key: str = API_KEY, **shared: Any) -> None:
        super().__init__(api_key=api_key, **shared)
        self.behaviour = Behaviour()
        self.signer = Signer()
        self.requests: list[SeenRequest] = []
        self.jobs: dict[str, Job] = {}
        self.n_questions = 0
        self.n_key_fetches = 0
        self._delivery = Delivery(self)

    @property
    def options(self) -> Mapping[str, str]:
        """Where the adapter finds the keys by which webhooks are signed here."""
        return {"jwks_url": self.jwks_url}

    @property
    def jwks_url(self) -> str:
        """Where the public keys of its webhooks are."""
        return f"{self.url}/.well-known/jwks.json"

    def application(self) -> web.Application:
        """The routes: the queue, its files, the public keys, and the counters."""
        application = web.Application(client_max_size=200 * 2**20)
        router = application.router
        router.add_get("/counters", self.counters)
        router.add_get("/.well-known/jwks.json", self._publish_keys)
        router.add_get("/files/{request_id}/{name}", self._file)
        router.add_get("/{app:.+}/requests/{request_id}/status", self._status)
        router.add_put("/{app:.+}/requests/{request_id}/cancel", self._cancel)
        router.add_get("/{app:.+}/requests/{request_id}", self._result)
        router.add_post("/{endpoint:.+}", self._submit)

        async def close(_: web.Application) -> None:
            await self._delivery.close()

        application.on_cleanup.append(close)
        return application

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        self.n_requests += 1
        if not self._is_authorised(request):
            return plain_error(401, f"Cannot access application '{endpoint}'. Authentication is required.")
        if _app_of(endpoint) is None or "no-such" in endpoint:
            return plain_error(404, f"Application '{endpoint}' not found")
        try:
            arguments = json.loads(await request.read())
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            return plain_error(400, "The body is no JSON object.", error_type="bad_request")
        webhook_url = request.query.get("fal_webhook", "")
        if self.keep_requests:
            self.requests.append(SeenRequest(endpoint, request.headers, arguments, webhook_url))
        key = _key_of(arguments)
        fault = self._order_fault(key)
        taken: list[Job] = []

        def take() -> Job:
            taken.append(self._take(endpoint, arguments, webhook_url, fault))
            return taken[0]

        if fault not in ORDER_FAULTS:
            return self._order_reply(take())
        try:
            return await ORDER_FAULTS[fault](self, request, take)
        finally:
            if not taken:
                self.ledger.add("asked", key=key, fault=fault)

    def _order_fault(self, key: str) -> str:
        fault, first = self.behaviour.fault, self.behaviour.first
        if fault and fault not in QUESTION_FAULTS and (not first or self.n_requests <= first):
            return fault
        return self.dice.throw(key, *_ORDER_DICE) or self.dice.throw(key, *_FILE_DICE)

    def _take(self, endpoint: str, arguments: dict[str, Any], webhook_url: str, fault: str) -> Job:
        loop = asyncio.get_running_loop()
        begins_at = loop.time() + self.behaviour.queue_seconds
        app = _app_of(endpoint) or endpoint
        job = Job(
            request_id=str(uuid.uuid4()),
            app=app,
            path=endpoint.removeprefix(app).strip("/"),
            arguments=arguments,
            key=_key_of(arguments),
            webhook_url=webhook_url,
            begins_at=begins_at,
            ends_at=begins_at + self.behaviour.delay_seconds,
            fault=fault,
            webhook=self.behaviour.webhook,
        )
        self.jobs[job.request_id] = job
        self.ledger.add("asked", key=job.key, job_id=job.request_id, webhook_url=webhook_url, fault=fault)
        self.enter()
        self._delivery.begin(job)
        loop.call_at(job.ends_at, self._end, job, None)
        return job

    def _end(self, job: Job, error: JobError | None) -> None:
        """The job has ended: well and paid for, or badly and free."""
        if job.has_ended:
            return
        job.has_ended = True
        job.error = error or JOB_ERRORS.get(job.fault) or _problem_with(job)
        self.leave()
        if job.error is None:
            self.n_completed += 1
            amount = self.price_usd * job.n_images
            self.ledger.add("charged", key=job.key, job_id=job.request_id, amount_usd=amount)
        self._delivery.end(job)

    def _order_reply(self, job: Job) -> web.Response:
        body: dict[str, Any] = {"status": "IN_QUEUE", "logs": None, "metrics": {}, "queue_position": 0}
        body.update(self._addresses(job))
        return web.json_response(body, headers={"x-fal-request-id": job.request_id})

    def _addresses(self, job: Job) -> dict[str, str]:
        address = f"{self.url}/{job.app}/requests/{job.request_id}"
        return {
            "request_id": job.request_id,
            "response_url": address,
            "status_url": f"{address}/status",
            "cancel_url": f"{address}/cancel",
        }

    async def _status(self, request: web.Request) -> web.StreamResponse:
        job = await self._find(request)
        if isinstance(job, web.StreamResponse):
            return job
        body: dict[str, Any] = {"status": self._state(job), **self._addresses(job)}
        wants_logs = request.query.get("logs") in {"true", "1"}
        logs = [{"message": "Working.", "level": "INFO", "timestamp": "2026-01-01T00:00:00Z", "labels": {}}]
        if body["status"] == "IN_QUEUE":
            return web.json_response({**body, "queue_position": 0}, status=202)
        body["logs"] = logs if wants_logs else None
        if body["status"] == "IN_PROGRESS":
            return web.json_response(body, status=202)
        body["metrics"] = {"inference_time": self.behaviour.delay_seconds}
        if job.error is not None and self.behaviour.tells_errors:
            body["error"] = f"Invalid status code: {job.error.status}"
            body["error_type"] = job.error.error_type or None
        return web.json_response(body)

    async def _result(self, request: web.Request) -> web.StreamResponse:
        job = await self._find(request)
        if isinstance(job, web.StreamResponse):
            return job
        if not job.has_ended:
            return plain_error(400, "Request is still in progress")
        if job.error is not None:
            return job.error.reply(job.request_id)
        self.ledger.add("delivered", key=job.key, job_id=job.request_id)
        headers = {"x-fal-request-id": job.request_id, "x-fal-billable-units": str(job.n_images)}
        return web.json_response(self._payload(job), headers=headers)

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        job = await self._find(request)
        if isinstance(job, web.StreamResponse):
            return job if job.status != 404 else web.json_response({"status": "NOT_FOUND"}, status=404)
        if job.has_ended:
            return web.json_response({"status": "ALREADY_COMPLETED"}, status=400)
        if self._state(job) == "IN_QUEUE" or not self.behaviour.ignores_cancel:
            self.ledger.add("cancelled", key=job.key, job_id=job.request_id)
            self._end(job, CANCELLED)
            if self.behaviour.forgets_cancelled:
                del self.jobs[job.request_id]
        return web.json_response({"status": "CANCELLATION_REQUESTED"}, status=202)

    async def _find(self, request: web.Request) -> Job | web.StreamResponse:
        """The job that the path names, or the answer to a question about none."""
        self.n_questions += 1
        if not self._is_authorised(request):
            return plain_error(401, "Authentication is required to access this request.")
        fault, first = self.behaviour.fault, self.behaviour.first
        if fault in QUESTION_FAULTS and (not first or self.n_questions <= first):
            return await QUESTION_FAULTS[fault](self, request)
        job = self.jobs.get(request.match_info["request_id"])
        if job is None or job.app != request.match_info["app"]:
            return plain_error(404, "Request not found")
        return job

    def _state(self, job: Job) -> str:
        if job.has_ended:
            return "COMPLETED"
        return "IN_QUEUE" if asyncio.get_running_loop().time() < job.begins_at else "IN_PROGRESS"

    def _payload(self, job: Job) -> dict[str, Any]:
        image = {"content_type": "image/png", "width": 512, "height": 512, "file_size": len(self.picture)}
        payload = {
            "images": [
                {"url": f"{self.url}/files/{job.request_id}/{index}.png", **image}
                for index in range(job.n_images)
            ],
            "seed": job.arguments.get("seed") or 196619188014358660,
            "has_nsfw_concepts": [False] * job.n_images,
            "prompt": job.arguments["prompt"],
            "timings": {"inference": self.behaviour.delay_seconds},
        }
        change = RESULT_FAULTS.get(job.fault)
        return change(self, payload) if change else payload

    def webhook_body(self, job: Job) -> dict[str, Any]:
        """What a webhook tells of the job."""
        ids = {"request_id": job.request_id, "gateway_request_id": job.request_id}
        if job.error is not None:
            error = f"Invalid status code: {job.error.status}"
            return {**ids, "status": "ERROR", "error": error, "payload": job.error.body()}
        return {**ids, "status": "OK", "error": None, "payload": self._payload(job)}

    async def _publish_keys(self, request: web.Request) -> web.Response:
        self.n_key_fetches += 1
        return web.json_response(self.signer.jwks())

    async def _file(self, request: web.Request) -> web.StreamResponse:
        job = self.jobs.get(request.match_info["request_id"])
        fault = job.fault if job is not None and job.fault in FILE_FAULTS else ""
        if job is None or fault == "file_missing":
            return web.Response(status=404)
        if fault == "file_unavailable":
            return gateway_page(503, "Service Temporarily Unavailable")
        if fault == "file_elsewhere":
            raise web.HTTPFound(self.behaviour.file_redirect)
        return self.file_reply(fault)

    def _is_authorised(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Key {self.api_key}"


def _app_of(endpoint: str) -> str | None:
    """Owner and app, and their namespace: the part of a model's id by which its requests are found."""
    parts = endpoint.split("/")
    n_parts = 3 if parts[0] in NAMESPACES else 2
    return "/".join(parts[:n_parts]) if len(parts) >= n_parts and all(parts) else None


def _key_of(arguments: Mapping[str, Any]) -> str:
    prompt = str(arguments.get("prompt", ""))[:200]
    return f"{prompt} #{arguments['seed']}" if "seed" in arguments else prompt


def _problem_with(job: Job) -> JobError | None:
    """What the model finds wrong with its input; known only once it has looked, so the order was taken."""
    arguments = job.arguments
    n_images, size = arguments.get("num_images", 1), arguments.get("image_size", "square_hd")
    if not isinstance(arguments.get("prompt"), str):
        return JobError(422, model_error("missing", "Field required", "prompt"))
    if not isinstance(n_images, int) or not 1 <= n_images <= MAX_IMAGES:
        return JobError(422, model_error("less_than_equal", f"Must be at most {MAX_IMAGES}", "num_images"))
    if size not in SIZES and not (isinstance(size, dict) and {"width", "height"} <= size.keys()):
        return JobError(422, model_error("enum", "No such size", "image_size"))
    wanted = {
        "image-to-image": ["image_url"],
        "edit": ["image_urls"],
        "inpainting": ["image_url", "mask_url"],
    }
    for name in wanted.get(job.path.rpartition("/")[2], []):
        values = arguments.get(name)
        first = values[0] if isinstance(values, list) and values else values
        if not isinstance(first, str):
            return JobError(422, model_error("missing", "Field required", name))
        if not first.startswith(("data:image/", "https://", "http://")):
            return JobError(422, model_error("file_download_error", "Failed to download the file", name))
    return None


@contextmanager
def running_server(server: FalServer | None = None, *, port: int = 0) -> Iterator[FalServer]:
    """Run the server in a thread of its own, for callers that block or have their own event loop."""
    with running(server or FalServer(), port=port) as started:
        yield started
