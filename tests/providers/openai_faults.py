"""Ways in which a provider fails: each is one answer, or none."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tests.providers.serving import drop, hang

if TYPE_CHECKING:
    from tests.providers.openai_server import OpenAIServer


def error_reply(
    status: int, message: str, *, kind: str = "invalid_request_error", code: str | None = None, **extra: Any
) -> web.Response:
    """Return an error as the API words it."""
    headers = {"x-request-id": "req_error", **extra.pop("headers", {})}
    error = {"message": message, "type": kind, "param": None, "code": code, **extra}
    return web.json_response({"error": error}, status=status, headers=headers)


async def _moderation(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return error_reply(
        400,
        "Your request was rejected by the safety system.",
        kind="image_generation_user_error",
        code="moderation_blocked",
        moderation_details={"moderation_stage": "input", "categories": ["violence"]},
    )


async def _content_policy(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return error_reply(
        400,
        "Your request was rejected as a result of our safety system.",
        code="content_policy_violation",
        inner_error={
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_results": {"violence": {"filtered": True}},
        },
    )


async def _rate_limit(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return error_reply(
        429,
        "Rate limit reached.",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        headers={"retry-after": server.behaviour.retry_after},
    )


async def _insufficient_quota(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return error_reply(
        429, "You exceeded your current quota.", kind="insufficient_quota", code="insufficient_quota"
    )


async def _resource_blocked(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return error_reply(403, "Your resource has been temporarily blocked.", kind="", code="Forbidden")


async def _server_error(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return error_reply(500, "The server had an error while processing your request.", kind="server_error")


async def _gateway_page(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return web.Response(status=502, text="<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")


async def _gateway_timeout(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return web.Response(status=504, text="upstream request timeout")


async def _hang(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return await hang()


async def _reset(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return drop(request)


async def _reset_mid_body(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    body = server.reply(1).body
    content = body if isinstance(body, bytes) else b"{}"
    headers = {"Content-Length": str(len(content)), "Content-Type": "application/json"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    await asyncio.sleep(0.05)
    return drop(request)


async def _truncated_image(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    half = base64.b64encode(server.picture[: len(server.picture) // 2]).decode()
    return web.json_response({"created": 1_700_000_000, "data": [{"b64_json": half}]})


async def _wrong_type(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    page = base64.b64encode(b"<html>This is no picture.</html>").decode()
    return web.json_response({"created": 1_700_000_000, "data": [{"b64_json": page}]})


async def _not_base64(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return web.json_response({"created": 1_700_000_000, "data": [{"b64_json": "%%% not base64 %%%"}]})


async def _no_data(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return web.json_response({"created": 1_700_000_000, "data": []})


async def _html(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>Sign in to the proxy</html>", content_type="text/html")


async def _foreign_values(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    picture = base64.b64encode(server.picture).decode()
    item = f'{{"b64_json": "{picture}", "revised_prompt": "a\\u0000b\\ud800"}}'
    text = f'{{"data": [{item}], "usage": {{"a": NaN, "b": 1e999}}}}'
    return web.Response(text=text, content_type="application/json")


async def _redirect(server: OpenAIServer, request: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect(f"{server.url}/v1/images/elsewhere")


Fault = Callable[["OpenAIServer", web.Request], Awaitable[web.StreamResponse]]

FAULTS: Final[Mapping[str, Fault]] = {
    "moderation_blocked": _moderation,
    "content_policy_violation": _content_policy,
    "rate_limit": _rate_limit,
    "insufficient_quota": _insufficient_quota,
    "resource_blocked": _resource_blocked,
    "server_error": _server_error,
    "gateway_page": _gateway_page,
    "gateway_timeout": _gateway_timeout,
    "hang": _hang,
    "reset": _reset,
    "reset_mid_body": _reset_mid_body,
    "truncated_image": _truncated_image,
    "wrong_type": _wrong_type,
    "not_base64": _not_base64,
    "no_data": _no_data,
    "html": _html,
    "foreign_values": _foreign_values,
    "redirect": _redirect,
}

# After these the pictures were made, whatever the caller got to see.
MADE_ALL_THE_SAME: Final = frozenset(FAULTS) - {
    "moderation_blocked",
    "content_policy_violation",
    "rate_limit",
    "insufficient_quota",
    "resource_blocked",
    "server_error",
    "gateway_page",
    "redirect",
}

FAULT_OF_DICE: Final[Mapping[str, str]] = {
    "rate_limited": "rate_limit",
    "server_error": "server_error",
    "hang": "hang",
    "dropped": "reset",
    "truncated": "truncated_image",
    "wrong_type": "wrong_type",
}
