"""Ways in which Replicate's API fails: each is one answer, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tests.providers.serving import drop, hang

if TYPE_CHECKING:
    from tests.providers.replicate_server import ReplicateServer

CREDIT: Final = "You have insufficient credit to run this model. Go to the billing page to purchase credit."


def problem(status: int, detail: str, *, title: str = "", **extra: Any) -> web.Response:
    """Return an error as the API words it."""
    headers = extra.pop("headers", {})
    body = {"detail": detail, "status": status, **({"title": title} if title else {}), **extra}
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


def invalid_input(field: str, description: str, kind: str = "required") -> web.Response:
    """Return what an input that the model's schema does not allow is answered with."""
    fields = [{"type": kind, "field": field, "description": description}]
    detail = f"- {field}: {description}\n" if field else f"- {description}\n"
    return problem(422, detail, title="Input validation failed", invalid_fields=fields)


async def _rate_limit(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    wait = server.behaviour.retry_after
    detail = "Request was throttled. Expected available in 1 second."
    return problem(429, detail, headers={"Retry-After": wait} if wait else {})


async def _low_credit(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    detail = (
        "Request was throttled. Your rate limit for creating predictions is reduced to 6 requests per minute"
        " with a burst of 1 requests while you have less than $5.0 in credit. Your rate limit resets in ~10s."
    )
    return problem(429, detail, retry_after=10)


async def _no_credit(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    return problem(402, CREDIT, title="Insufficient credit")


async def _invalid_input(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    return invalid_input("input.width", "Must be less than or equal to 1440", "number_lte")


async def _unknown_version(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    detail = "The specified version does not exist (or perhaps you don't have permission to use it?)"
    return problem(422, detail, title="Invalid version or not permitted")


async def _server_error(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    return problem(500, "An internal error occurred.", title="Internal server error")


async def _unavailable(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    return web.Response(status=503, text="<html><h1>503</h1></html>", content_type="text/html")


async def _gateway_page(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    return web.Response(status=502, text="<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")


async def _hang(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    return await hang()


async def _drop(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    return drop(request)


async def _no_id(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    return web.json_response({"status": "starting"}, status=201)


async def _html(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>Sign in to the proxy</html>", content_type="text/html")


async def _redirect(server: ReplicateServer, request: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect(f"{server.url}/v1/elsewhere")


Fault = Callable[["ReplicateServer", web.Request], Awaitable[web.StreamResponse]]

# In place of the answer, with nothing done.
FAULTS_BEFORE: Final[Mapping[str, Fault]] = {
    "rate_limit": _rate_limit,
    "low_credit": _low_credit,
    "no_credit": _no_credit,
    "invalid_input": _invalid_input,
    "unknown_version": _unknown_version,
    "server_error": _server_error,
    "unavailable": _unavailable,
    "reset": _drop,
    "redirect": _redirect,
}
# In place of the answer, with everything done.
FAULTS_AFTER: Final[Mapping[str, Fault]] = {
    "gateway_page": _gateway_page,
    "hang": _hang,
    "dropped": _drop,
    "no_id": _no_id,
    "html": _html,
}
FAULTS: Final[Mapping[str, Fault]] = {**FAULTS_BEFORE, **FAULTS_AFTER}

FAULT_OF_DICE: Final[Mapping[str, str]] = {
    "rate_limited": "rate_limit",
    "server_error": "server_error",
    "hang": "hang",
    "dropped": "dropped",
}
