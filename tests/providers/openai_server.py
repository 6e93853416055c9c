"""A server that speaks the images API of OpenAI and Azure OpenAI, written from the public API reference.

It judges requests as the real one documents them, and can be told to fail in each way that a client must
survive. It makes no pictures: it sends the same precomputed bytes, so that hundreds of calls cost little.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import BodyPartReader, web
from PIL import Image

from tests.providers.openai_faults import FAULT_OF_DICE, FAULTS, MADE_ALL_THE_SAME, error_reply
from tests.providers.serving import ProtocolServer, running

API_KEY: Final = "sk-test-0123456789abcdef"
MAX_PROMPT_CHARS: Final = 32_000
MAX_INPUTS: Final = 16
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_FIELDS_TEXT: Final = """
    model prompt n size quality background moderation output_format output_compression user style
    response_format stream partial_images seed input_fidelity
"""
FIELDS: Final = frozenset(_FIELDS_TEXT.split())


@dataclass
class Behaviour:
    """What the next requests meet; may be changed while the server runs.

    Args:
        fault: Empty, or one of `FAULTS`.
        first: How many requests the fault lasts; 0 means all.
        reply_with: `b64_json` or `url`.
        honours_keys: A call with the `Idempotency-Key` of an earlier one is answered again, and not charged.
    """

    delay_seconds: float = 0.0
    fault: str = ""
    first: int = 0
    reply_with: str = "b64_json"
    retry_after: str = "2"
    n_delivered: int | None = None
    file_redirect: str = ""
    honours_keys: bool = False


@dataclass
class SeenRequest:
    """One request as it arrived."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    fields: Mapping[str, Any]
    files: list[tuple[str, str, str, bytes]] = field(default_factory=list)


class OpenAIServer(ProtocolServer):
    """The server's state: behaviour to set, counters and requests to read."""

    name = "openai"
    fault_names = tuple(FAULTS)
    behaviour: Behaviour

    def __init__(self, *, api_key: str = API_KEY, **shared: Any) -> None:
        super().__init__(api_key=api_key, **shared)
        self.behaviour = Behaviour()
        self.requests: list[SeenRequest] = []
        self._encoded = base64.b64encode(self.picture).decode()
        self._ready_at: dict[str, float] = {}

    @property
    def base_url(self) -> str:
        """OpenAI's; Azure's is `url`."""
        return f"{self.url}/v1"

    def application(self) -> web.Application:
        """The routes: OpenAI's, Azure's deployment paths, served files, and the counters."""
        application = web.Application(client_max_size=200 * 2**20)
        for prefix in ("/v1", "/openai/deployments/{deployment}"):
            application.router.add_post(f"{prefix}/images/generations", self._generate)
            application.router.add_post(f"{prefix}/images/edits", self._edit)
        application.router.add_get("/files/{name}", self._file)
        application.router.add_get("/counters", self.counters)
        return application

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        try:
            fields = json.loads(await request.read())
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            return error_reply(
                400, "We could not parse the JSON body of your request.", kind="invalid_request_error"
            )
        return await self._answer(request, SeenRequest(request.path, request.query, request.headers, fields))

    async def _edit(self, request: web.Request) -> web.StreamResponse:
        seen = SeenRequest(request.path, request.query, request.headers, {})
        fields: dict[str, Any] = {}
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                continue
            if part.filename:
                kind = part.headers.get("Content-Type", "")
                seen.files.append((part.name or "", part.filename, kind, bytes(await part.read())))
            else:
                fields[part.name or ""] = await part.text()
        seen.fields = fields
        problem = _problem_with_files(seen.files)
        return problem or await self._answer(request, seen)

    async def _answer(self, request: web.Request, seen: SeenRequest) -> web.StreamResponse:
        self.n_requests += 1
        if self.keep_requests:
            self.requests.append(seen)
        self.enter()
        try:
            if not self._is_authorised(request):
                message = f"Incorrect API key provided: {request.headers.get('Authorization', '')[7:]}."
                return error_reply(401, message, kind="invalid_request_error", code="invalid_api_key")
            problem = _problem_with_fields(seen.fields)
            return problem or await self._make(request, seen)
        finally:
            self.leave()

    async def _make(self, request: web.Request, seen: SeenRequest) -> web.StreamResponse:
        """Answer a sound call: charge for what will be made, take the time, then fail or deliver."""
        key = seen.headers.get("Idempotency-Key") or str(seen.fields["prompt"])
        self.ledger.add("asked", key=key)
        fault = self._fault(key)
        if not fault or fault in MADE_ALL_THE_SAME:
            self._charge(key, seen)
        delay = self._ready_at.get(key, 0.0) - asyncio.get_running_loop().time()
        if delay > 0:
            await asyncio.sleep(delay)
        if fault:
            return await FAULTS[fault](self, request)
        response = self.reply(int(seen.fields.get("n", 1)))
        self.n_completed += 1
        return response

    def _fault(self, key: str) -> str:
        if self.behaviour.fault and (not self.behaviour.first or self.n_requests <= self.behaviour.first):
            return self.behaviour.fault
        return FAULT_OF_DICE.get(self.dice.throw(key, *FAULT_OF_DICE), "")

    def _charge(self, key: str, seen: SeenRequest) -> None:
        is_known = self.behaviour.honours_keys and "Idempotency-Key" in seen.headers and key in self._ready_at
        if not is_known:
            self._ready_at[key] = asyncio.get_running_loop().time() + self.behaviour.delay_seconds
            self.ledger.add("charged", key=key, amount_usd=self.price_usd * int(seen.fields.get("n", 1)))

    def _is_authorised(self, request: web.Request) -> bool:
        if request.match_info.get("deployment"):
            return request.headers.get("api-key") == self.api_key and "api-version" in request.query
        return request.headers.get("Authorization") == f"Bearer {self.api_key}"

    def reply(self, n_asked: int) -> web.Response:
        """The documented success reply."""
        n_images = n_asked if self.behaviour.n_delivered is None else self.behaviour.n_delivered
        if self.behaviour.reply_with == "url":
            data = [{"url": f"{self.url}/files/{index}.png"} for index in range(n_images)]
        else:
            data = [{"b64_json": self._encoded} for _ in range(n_images)]
        body = {
            "created": 1_700_000_000,
            "data": data,
            "usage": {
                "input_tokens": 13,
                "output_tokens": 272 * n_images,
                "total_tokens": 13 + 272 * n_images,
            },
        }
        return web.json_response(body, headers={"x-request-id": f"req_{self.n_requests:06d}"})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        if self.behaviour.file_redirect:
            raise web.HTTPFound(self.behaviour.file_redirect)
        return self.file_reply()


def _problem_with_fields(fields: Mapping[str, Any]) -> web.Response | None:
    prompt, n_images = fields.get("prompt"), fields.get("n", 1)
    if not isinstance(prompt, str) or not prompt:
        return error_reply(400, "Missing required parameter: 'prompt'.", code="missing_required_parameter")
    if len(prompt) > MAX_PROMPT_CHARS:
        return error_reply(400, "Invalid 'prompt': string too long.", code="string_above_max_length")
    if not str(n_images).isdigit() or not 1 <= int(n_images) <= 10:
        return error_reply(400, "Invalid 'n': must be between 1 and 10.", code="invalid_value")
    unknown = sorted(set(fields) - FIELDS)
    if unknown:
        return error_reply(400, f"Unknown parameter: '{unknown[0]}'.", code="unknown_parameter")
    if fields.get("model") == "no-such-model":
        return error_reply(404, "The model 'no-such-model' does not exist.", code="model_not_found")
    return None


def _problem_with_files(files: list[tuple[str, str, str, bytes]]) -> web.Response | None:
    images = [file for file in files if file[0] in {"image", "image[]"}]
    masks = [file for file in files if file[0] == "mask"]
    if not images or len(images) > MAX_INPUTS or len(masks) > 1:
        return error_reply(400, "Between 1 and 16 images and at most one mask.", code="invalid_value")
    if any(name == "image" for name, *_ in images) and len(images) > 1:
        return error_reply(400, "Duplicate parameter: 'image'.", code="duplicate_parameter")
    if any(kind not in {"image/png", "image/jpeg", "image/webp"} for _, _, kind, _ in images):
        return error_reply(400, "Unsupported file mimetype.", code="unsupported_file_mimetype")
    for _, _, _, content in masks:
        if not content.startswith(PNG_SIGNATURE) or len(content) > 4 * 2**20:
            return error_reply(400, "The mask must be a PNG below 4 MB.", code="invalid_mask_image_format")
        with Image.open(io.BytesIO(content)) as mask:
            if mask.mode != "RGBA":
                return error_reply(400, "The mask needs an alpha channel.", code="invalid_mask_image_format")
    return None


@contextmanager
def running_server(server: OpenAIServer | None = None, *, port: int = 0) -> Iterator[OpenAIServer]:
    """Run the server in a thread of its own, for callers that block or have their own event loop."""
    with running(server or OpenAIServer(), port=port) as started:
        yield started
