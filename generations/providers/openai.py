"""The images API of OpenAI, of Azure OpenAI, and of the many servers that speak the same protocol."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from generations.providers.base import (
    Capabilities,
    ErrorCode,
    InputFile,
    ProviderConfig,
    ProviderError,
    ProviderRequest,
    ProviderResult,
    to_storable,
)
from generations.providers.inputs import compose_prompt
from generations.providers.masks import to_transparent_png
from generations.providers.openai_errors import error_from_reply
from generations.providers.pictures import (
    MAX_OUTPUT_BYTES,
    Picture,
    collect_pictures,
    decode_picture,
    read_picture,
)
from generations.providers.replies import read_by_size
from generations.providers.transport import BROKEN_CALLS, error_from_transport, first_header
from mayagen.common.http_safety import (
    CONNECT_TIMEOUT_SECONDS,
    InvalidAddressError,
    parse_public_url,
    read_capped,
    spool_capped,
)
from mayagen.common.spooling import Spool, SpoolError

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
DEFAULT_AZURE_API_VERSION: Final = "2025-04-01-preview"
MAX_REPLY_BYTES: Final = 256 * 1024 * 1024
MAX_ERROR_BYTES: Final = 256 * 1024
_OWN_FIELDS: Final = frozenset({"model", "prompt", "n", "image", "image[]", "mask"})
_STREAMING_FIELDS: Final = ("stream", "partial_images")
_ECHOED_FIELDS: Final = ("usage", "size", "quality", "background", "output_format", "model")
_REQUEST_ID_HEADERS: Final = ("x-request-id", "apim-request-id", "x-ms-request-id")


@dataclass(frozen=True, slots=True)
class _Reply:
    pictures: list[Picture]
    metadata: dict[str, Any]


class OpenAIProvider:
    """One call of `images/generations` or `images/edits`; pictures behind URLs are fetched at once.

    The API has neither a system prompt nor a negative one: the first is set before the prompt, the second
    after it as "Avoid: …". Options: `supports_seed` sends the seed, which only some compatible servers take;
    `supports_idempotency_key` sends the header `Idempotency-Key`, for a server or gateway that honours it.
    """

    name = "openai"

    def __init__(self, config: ProviderConfig, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._api_key = config.api_key or ""
        self._options = config.options
        self._folder = config.spool_folder
        try:
            self._base_url = str(parse_public_url(self._default_base_url(config))).rstrip("/")
        except InvalidAddressError as error:
            raise ProviderError(ErrorCode.CONFIGURATION, str(error)) from error

    @property
    def capabilities(self) -> Capabilities:
        """Masks and several outputs; seeds and keys where the server is said to take them."""
        return Capabilities(
            masks=True,
            several_outputs=True,
            seeds=bool(self._options.get("supports_seed")),
            idempotency_keys=bool(self._options.get("supports_idempotency_key")),
        )

    async def generate(self, request: ProviderRequest) -> ProviderResult:
        """Make the pictures by one request, and one more for each picture that comes as a URL.

        Raises:
            ProviderError: Classified; `outcome_unknown` when the connection was lost after sending.
        """
        deadline = time.monotonic() + request.timeout_seconds
        body = await self._body(request)
        reply, headers = await self._call(request, body)
        try:
            found = await collect_pictures(
                self._session, reply.pictures, deadline=deadline, folder=self._folder
            )
        except SpoolError as error:
            raise error_from_transport(error, self._api_key) from error
        if not found.outputs:
            reason = "; ".join(found.failures) or "The reply holds no image."
            raise ProviderError(ErrorCode.BAD_OUTPUT, reason, secrets=(self._api_key,))
        return ProviderResult(
            outputs=found.outputs,
            provider_request_id=first_header(headers, _REQUEST_ID_HEADERS),
            cost_usd=_cost(headers),
            warning=_warning(request.n_outputs, len(found.outputs)),
            metadata=reply.metadata,
        )

    def _default_base_url(self, config: ProviderConfig) -> str:
        return config.base_url or DEFAULT_BASE_URL

    def _url(self, action: str, request: ProviderRequest) -> str:
        return f"{self._base_url}/images/{action}"

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}

    async def _body(self, request: ProviderRequest) -> dict[str, Any]:
        """The arguments of the request: `json=` for a generation, `data=` with files for an edit."""
        fields = self._fields(request)
        if not request.inputs:
            return {"json": fields}
        if not request.references:
            raise ProviderError(ErrorCode.INVALID_REQUEST, "An edit needs at least one input image.")
        form = aiohttp.FormData(default_to_multipart=True)
        for name, value in fields.items():
            form.add_field(name, value if isinstance(value, str) else json.dumps(value))
        part = "image" if len(request.references) == 1 else "image[]"
        for position, file in enumerate(request.references, start=1):
            _add_file(form, part, file, f"image-{position}")
        if request.mask is not None:
            content = await asyncio.to_thread(to_transparent_png, request.mask.content)
            _add_file(form, "mask", InputFile("mask", content, "image/png"), "mask")
        return {"data": form}

    def _fields(self, request: ProviderRequest) -> dict[str, Any]:
        if any(request.parameters.get(name) for name in _STREAMING_FIELDS):
            raise ProviderError(ErrorCode.INVALID_REQUEST, "Streamed replies are not supported.")
        fields = {name: value for name, value in request.parameters.items() if name not in _OWN_FIELDS}
        if request.width_px and request.height_px:
            fields.setdefault("size", f"{request.width_px}x{request.height_px}")
        if request.seed is not None and self.capabilities.seeds:
            fields.setdefault("seed", request.seed)
        return {
            **fields,
            "model": request.endpoint,
            "prompt": compose_prompt(request),
            "n": request.n_outputs,
        }

    async def _call(self, request: ProviderRequest, body: dict[str, Any]) -> tuple[_Reply, Mapping[str, str]]:
        url = self._url("edits" if request.inputs else "generations", request)
        timeout = aiohttp.ClientTimeout(
            total=request.timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, request.timeout_seconds / 2)
        )
        own_headers = self._headers()
        if self.capabilities.idempotency_keys:
            own_headers["Idempotency-Key"] = request.idempotency_key
        try:
            async with self._session.post(
                url, headers=own_headers, timeout=timeout, allow_redirects=False, **body
            ) as response:
                if response.status != 200:  # noqa: PLR2004
                    raise await self._error(response)
                limit = min(MAX_REPLY_BYTES, 2**20 + request.n_outputs * MAX_OUTPUT_BYTES * 4 // 3)
                kept = Spool(self._folder)
                await spool_capped(response, kept, max_bytes=limit)
                headers = response.headers.copy()
            return await read_by_size(kept.n_bytes, self._parse, kept, headers), headers
        except BROKEN_CALLS as error:
            raise error_from_transport(error, self._api_key) from error

    async def _error(self, response: aiohttp.ClientResponse) -> ProviderError:
        try:
            body = await read_capped(response, max_bytes=MAX_ERROR_BYTES)
        except BROKEN_CALLS:
            body = b""  # The status is known, and says enough.
        return error_from_reply(
            status=response.status, headers=response.headers, body=body, secrets=(self._api_key,)
        )

    def _parse(self, body: Spool, headers: Mapping[str, str]) -> _Reply:
        content = bytes(body.read())
        try:
            payload = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ProviderError(ErrorCode.BAD_OUTPUT, "The reply is not JSON.") from error
        items = payload.get("data") if isinstance(payload, dict) else None
        if not isinstance(items, list):
            if isinstance(payload, dict) and payload.get("error"):
                raise error_from_reply(status=200, headers=headers, body=content, secrets=(self._api_key,))
            raise ProviderError(ErrorCode.BAD_OUTPUT, "The reply holds no list of images.")
        metadata = {
            name: to_storable(payload[name]) for name in _ECHOED_FIELDS if payload.get(name) is not None
        }
        records = [item for item in items if isinstance(item, dict)]
        revised = [item["revised_prompt"] for item in records if isinstance(item.get("revised_prompt"), str)]
        if revised:
            metadata["revised_prompts"] = to_storable(revised)
        return _Reply(pictures=[self._picture(item) for item in records], metadata=metadata)

    def _picture(self, item: Mapping[str, Any]) -> Picture:
        encoded = item.get("b64_json")
        if isinstance(encoded, str):
            return decode_picture(encoded, folder=self._folder)
        return read_picture(item.get("url"), folder=self._folder)


class AzureOpenAIProvider(OpenAIProvider):
    """The same API under Azure's deployment paths: `endpoint` is the deployment's name.

    Options: `api_version`. The base URL is the resource's, such as `https://name.openai.azure.com`.
    """

    name = "azure_openai"

    def _default_base_url(self, config: ProviderConfig) -> str:
        if not config.base_url:
            raise ProviderError(ErrorCode.CONFIGURATION, "An Azure model needs its resource's address.")
        return config.base_url

    def _url(self, action: str, request: ProviderRequest) -> str:
        version = quote(str(self._options.get("api_version") or DEFAULT_AZURE_API_VERSION), safe="")
        deployment = quote(request.endpoint, safe="")
        return f"{self._base_url}/openai/deployments/{deployment}/images/{action}?api-version={version}"

    def _headers(self) -> dict[str, str]:
        return {"api-key": self._api_key} if self._api_key else {}


def _add_file(form: aiohttp.FormData, part: str, file: InputFile, stem: str) -> None:
    extension = file.mime_type.partition("/")[2] or "png"
    form.add_field(part, file.content, filename=f"{stem}.{extension}", content_type=file.mime_type)


def _cost(headers: Mapping[str, str]) -> Decimal | None:
    # The images API names no price; the LiteLLM gateway in front of it does, in this header.
    try:
        cost = Decimal(headers["x-litellm-response-cost"])
    except (KeyError, InvalidOperation):
        return None
    return cost if cost.is_finite() and cost >= 0 else None


def _warning(wanted: int, received: int) -> str:
    return "" if received >= wanted else f"The provider delivered {received} of {wanted} images."
