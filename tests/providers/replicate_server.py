"""A server that speaks Replicate's predictions API, written from the public HTTP reference.

It judges requests as the real one documents them, runs predictions by timers, sends signed webhooks, and can
be told to fail in each way that a client must survive. It makes no pictures: it sends the same precomputed
bytes, so that hundreds of predictions cost little.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
from aiohttp import BodyPartReader, web

from tests.providers.replicate_checks import find_problem, not_found, parse_object
from tests.providers.replicate_faults import FAULT_OF_DICE, FAULTS, FAULTS_BEFORE, problem
from tests.providers.replicate_jobs import ENDED, WEBHOOKS, Job, deliver, to_body
from tests.providers.serving import ProtocolServer, running

API_KEY: Final = "r8_test0123456789abcdef"
SECRET: Final = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
VERSION: Final = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
PAGE_SIZE: Final = 100
START_SHARE: Final = 0.2
_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_WAIT: Final = re.compile(r"wait(?:=(\d+))?")


@dataclass
class Behaviour:
    """What the next requests meet; may be changed while the server runs.

    Args:
        delay_seconds: How long a prediction takes; a fifth of it, it has not begun.
        fault: Empty, or one of `FAULTS`.
        fault_on: Whom it meets: `create`, `get`, `list`, `cancel`, `files` or `secret`.
        first: How many requests of that kind it meets; 0 means all.
        outcome: How predictions end; `stuck` never.
        output_as: `list`, `string`, `object` or `data_uri`.
        webhook: One of `WEBHOOKS`; empty for one webhook when the prediction ends.
    """

    delay_seconds: float = 0.0
    fault: str = ""
    fault_on: str = "create"
    first: int = 0
    retry_after: str = "2"
    outcome: str = "succeeded"
    error: str | None = None
    output_as: str = "list"
    n_delivered: int | None = None
    file_fault: str = ""
    file_status: int = 200
    expire_after_seconds: float = 3600.0
    webhook: str = ""
    webhook_delay_seconds: float = 1.0

    def __post_init__(self) -> None:
        assert self.fault in {"", *FAULTS}
        assert self.webhook in WEBHOOKS


@dataclass
class SeenRequest:
    """One request as it arrived."""

    kind: str
    path: str
    headers: Mapping[str, str]
    fields: Mapping[str, Any] = field(default_factory=dict)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ReplicateServer(ProtocolServer):
    """The server's state: behaviour to set, counters, predictions and requests to read."""

    name = "replicate"
    fault_names = tuple(FAULTS)
    behaviour: Behaviour

    def __init__(self, *, api_key: str = API_KEY, **shared: Any) -> None:
        super().__init__(api_key=api_key, **shared)
        self.behaviour = Behaviour()
        # The first is the account's secret; webhooks are signed by all, as while one replaces another.
        self.secrets = [SECRET]
        self.requests: list[SeenRequest] = []
        self.jobs: dict[str, Job] = {}
        self.files: dict[str, tuple[str, bytes]] = {}
        self._order: list[Job] = []
        self._n_by_kind: dict[str, int] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.n_key_fetches = 0

    def reset(self) -> None:
        """Behave again as at the start, and forget what was asked; predictions stay."""
        self.behaviour = Behaviour()
        self.requests.clear()
        self.files.clear()
        self._n_by_kind.clear()
        self.n_key_fetches = 0
        self.max_in_flight = self.n_in_flight

    def application(self) -> web.Application:
        """The routes: predictions, files, the webhook secret, what the client asks besides, and outputs."""
        application = web.Application(client_max_size=200 * 2**20)
        router = application.router
        for prefix in ("", "/models/{owner}/{name}", "/deployments/{deployment_owner}/{deployment}"):
            router.add_post(f"/v1{prefix}/predictions", self._guard("create", self._create))
        router.add_get("/v1/predictions", self._guard("list", self._list))
        router.add_get("/v1/predictions/{id}", self._guard("get", self._get))
        router.add_post("/v1/predictions/{id}/cancel", self._guard("cancel", self._cancel))
        router.add_post("/v1/files", self._guard("files", self._upload))
        router.add_get("/v1/files/{file}", self._guard("files", self._uploaded))
        router.add_get("/v1/webhooks/default/secret", self._guard("secret", self._secret))
        router.add_get("/v1/models/{owner}/{name}/versions/{version}", self._guard("version", self._version))
        router.add_get("/output/{id}/{name}", self._output)
        router.add_get("/counters", self.counters)
        application.cleanup_ctx.append(self._running)
        return application

    async def _running(self, application: web.Application) -> Any:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as self._session:
            yield
            for job in self._order:
                for timer in job.timers:
                    timer.cancel()
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    def _guard(self, kind: str, handler: Handler) -> Handler:
        """The handler behind the key and the faults that a request of this kind meets."""

        async def answer(request: web.Request) -> web.StreamResponse:
            self.n_requests += 1
            self._n_by_kind[kind] = self._n_by_kind.get(kind, 0) + 1
            seen = SeenRequest(kind, request.path_qs, request.headers)
            if kind == "create":
                seen.fields = parse_object(await request.read())
            if self.keep_requests:
                self.requests.append(seen)
            if request.headers.get("Authorization") != f"Bearer {self.api_key}":
                return problem(401, "You did not pass a valid authentication token", title="Unauthenticated")
            key = self._key(request, seen.fields)
            if kind == "create":
                self.ledger.add("asked", key=key, webhook=seen.fields.get("webhook", ""))
            fault = self._fault(kind, key)
            if fault in FAULTS_BEFORE:
                return await FAULTS[fault](self, request)
            response = await handler(request)
            return await FAULTS[fault](self, request) if fault else response

        return answer

    def _key(self, request: web.Request, fields: Mapping[str, Any]) -> str:
        """What the prediction that is meant is known by: its prompt."""
        job = self.jobs.get(request.match_info.get("id", ""))
        given = fields.get("input")
        return job.key if job else str(given.get("prompt", "") if isinstance(given, dict) else "")

    def _fault(self, kind: str, key: str) -> str:
        behaviour = self.behaviour
        is_early = not behaviour.first or self._n_by_kind[kind] <= behaviour.first
        if behaviour.fault and behaviour.fault_on == kind and is_early:
            return behaviour.fault
        return FAULT_OF_DICE.get(self.dice.throw(f"{kind} {key}", *FAULT_OF_DICE), "")

    async def _create(self, request: web.Request) -> web.StreamResponse:
        fields = parse_object(await request.read())
        refusal = find_problem(request, fields)
        if refusal is not None:
            return refusal
        job = self._begin(request, fields)
        wait = _WAIT.fullmatch(request.headers.get("Prefer", ""))
        if wait:
            seconds = min(60, max(1, int(wait.group(1) or 60)))
            try:
                await asyncio.wait_for(job.has_ended.wait(), seconds)
            except TimeoutError:
                # Whatever it does by now: the client takes anything but `starting` for the end.
                return web.json_response({**self._show(job), "status": "starting"}, status=202)
        elif self.behaviour.webhook == "early" and job.webhook:
            await self._send_webhook(job, "")
        return web.json_response(self._show(job), status=201)

    def _begin(self, request: web.Request, fields: Mapping[str, Any]) -> Job:
        place = request.match_info
        model, _, version = str(fields.get("version", "")).rpartition(":")
        if "owner" in place:
            model = f"{place['owner']}/{place['name']}"
        elif "/" in version:
            model, version = version, ""
        deployment = f"{place['deployment_owner']}/{place['deployment']}" if "deployment" in place else ""
        key = str(fields["input"].get("prompt", ""))
        job = Job(
            id=secrets.token_hex(13),
            model=model or "acme/painter",
            version=version or "hidden",
            deployment=deployment,
            input=fields["input"],
            key=key,
            webhook=str(fields.get("webhook") or fields.get("webhook_completed") or ""),
            events=fields.get("webhook_events_filter") or ["output", "completed"],
            base_url=f"{self.url}/v1",
            file_fault=self.behaviour.file_fault or self.dice.throw(key, "truncated", "wrong_type"),
        )
        self.jobs[job.id] = job
        self._order.append(job)
        self.enter()
        self._set_timers(job, request.headers.get("Cancel-After", ""))
        return job

    def _set_timers(self, job: Job, cancel_after: str) -> None:
        loop, delay = asyncio.get_running_loop(), self.behaviour.delay_seconds
        match = _DURATION.fullmatch(cancel_after)
        if match and cancel_after:
            hours, minutes, seconds = (int(text or 0) for text in match.groups())
            lifetime = timedelta(hours=hours, minutes=minutes, seconds=seconds)
            job.deadline = job.created_at + lifetime
            job.timers.append(loop.call_later(lifetime.total_seconds(), self._stop, job))
        if self.behaviour.outcome in {"stuck", "aborted"}:
            if self.behaviour.outcome == "aborted":
                job.timers.append(loop.call_later(delay, self._stop, job))
            return
        job.timers.append(loop.call_later(delay * START_SHARE, self._start, job))
        job.timers.append(loop.call_later(delay, self._finish, job, self.behaviour.outcome))

    def _start(self, job: Job) -> None:
        if job.status == "starting":
            job.status, job.started_at = "processing", datetime.now(UTC)
            self.ledger.add("charged", key=job.key, job_id=job.id, amount_usd=self.price_usd * job.n_outputs)
            if "start" in job.events:
                self._send_later(job)

    def _stop(self, job: Job) -> None:
        """End it as its deadline or somebody's wish does: what has not begun costs nothing."""
        self._end(job, "aborted" if job.status == "starting" else "canceled")

    def _finish(self, job: Job, outcome: str) -> None:
        self._start(job)
        if outcome == "succeeded":
            job.output = self._outputs(job)
        if outcome == "failed":
            job.error = self.behaviour.error
        self._end(job, outcome)

    def _end(self, job: Job, status: str) -> None:
        if job.status in ENDED:
            return
        job.status, job.completed_at = status, datetime.now(UTC)
        job.has_ended.set()
        for timer in job.timers:
            timer.cancel()
        self.leave()
        self.n_completed += status == "succeeded"
        self._send_later(job)

    def _outputs(self, job: Job) -> Any:
        n_outputs = job.n_outputs if self.behaviour.n_delivered is None else self.behaviour.n_delivered
        addresses = [f"{self.url}/output/{job.id}/out-{index}.png" for index in range(n_outputs)]
        match self.behaviour.output_as:
            case "string":
                return addresses[0]
            case "object":
                return {"images": addresses, "seed": 42}
            case "data_uri":
                encoded = base64.b64encode(self.picture).decode()
                return [f"data:image/png;base64,{encoded}"] * n_outputs
        return addresses

    def _send_later(self, job: Job) -> None:
        manner = self.behaviour.webhook
        if not job.webhook or manner == "none" or ("completed" not in job.events and job.status in ENDED):
            return
        times = 2 if manner == "twice" or self.dice.throw(job.key, "duplicate_webhooks") else 1
        for _ in range(times):
            task = asyncio.get_running_loop().create_task(self._send_webhook(job, manner))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send_webhook(self, job: Job, manner: str) -> None:
        if manner == "late":
            await asyncio.sleep(self.behaviour.webhook_delay_seconds)
        assert self._session is not None
        body = to_body(job)
        status = await deliver(self._session, job.webhook, body, secrets=self.secrets, manner=manner)
        self.ledger.add("webhook", key=job.key, job_id=job.id, status=status)

    def _show(self, job: Job) -> dict[str, Any]:
        return job.to_json(is_expired=self._is_expired(job))

    def _is_expired(self, job: Job) -> bool:
        lifetime = timedelta(seconds=self.behaviour.expire_after_seconds)
        return job.completed_at is not None and datetime.now(UTC) >= job.completed_at + lifetime

    async def _get(self, request: web.Request) -> web.StreamResponse:
        job = self.jobs.get(request.match_info["id"])
        return web.json_response(self._show(job)) if job else not_found()

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        job = self.jobs.get(request.match_info["id"])
        if job is None:
            return not_found()
        if job.status not in ENDED:
            self._end(job, "canceled")
            self.ledger.add("cancelled", key=job.key, job_id=job.id)
        return web.json_response(self._show(job))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        end = int(request.query.get("cursor", len(self._order)))
        page = self._order[max(0, end - PAGE_SIZE) : end][::-1]
        following = end - PAGE_SIZE
        address = f"{self.url}/v1/predictions?cursor={following}" if following > 0 else None
        results = [self._show(job) for job in page]
        return web.json_response({"previous": None, "next": address, "results": results})

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "content":
                content = bytes(await part.read())
                file_id = secrets.token_urlsafe(24)
                self.files[file_id] = (part.headers.get("Content-Type", ""), content)
                return web.json_response(self._file(file_id, part.filename or ""), status=201)
        return problem(400, "Missing content", title="Bad request")

    def _file(self, file_id: str, name: str) -> dict[str, Any]:
        content_type, content = self.files[file_id]
        created_at = datetime.now(UTC)
        return {
            "id": file_id,
            "name": name,
            "content_type": content_type,
            "size": len(content),
            "etag": "",
            "checksums": {},
            "metadata": {},
            "created_at": created_at.isoformat(),
            "expires_at": (created_at + timedelta(days=1)).isoformat(),
            "urls": {"get": f"{self.url}/v1/files/{file_id}"},
        }

    async def _uploaded(self, request: web.Request) -> web.StreamResponse:
        file_id = request.match_info["file"]
        return web.json_response(self._file(file_id, "")) if file_id in self.files else not_found()

    async def _secret(self, request: web.Request) -> web.StreamResponse:
        self.n_key_fetches += 1
        return web.json_response({"key": self.secrets[0]})

    async def _version(self, request: web.Request) -> web.StreamResponse:
        output = {"type": "array", "items": {"type": "string", "format": "uri"}, "title": "Output"}
        version = {
            "id": request.match_info["version"],
            "created_at": "2024-02-15T16:32:57.018467Z",
            "cog_version": "0.9.4",
            "openapi_schema": {"components": {"schemas": {"Output": output}}},
        }
        return web.json_response(version)

    async def _output(self, request: web.Request) -> web.StreamResponse:
        job = self.jobs.get(request.match_info["id"])
        if job is None or self._is_expired(job):
            return web.Response(status=404, text="Not found")
        if self.behaviour.file_status != 200:
            return web.Response(status=self.behaviour.file_status, text="No file today")
        return self.file_reply(job.file_fault)


@contextmanager
def running_server(server: ReplicateServer | None = None, *, port: int = 0) -> Iterator[ReplicateServer]:
    """Run the server in a thread of its own, for callers that block or have their own event loop."""
    with running(server or ReplicateServer(), port=port) as started:
        yield started
