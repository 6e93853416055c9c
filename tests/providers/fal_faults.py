"""Ways in which fal fails: at the order, at a question about it, in its result, or in its files.

Bodies and headers after fal's pages on model errors and request errors.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tests.providers.serving import drop, hang

if TYPE_CHECKING:
    from tests.providers.fal_server import FalServer, Job

DOCS_URL: Final = "https://docs.fal.ai/errors"


@dataclass(frozen=True)
class JobError:
    """How a job ends badly: the status and body that its result is answered with.

    Args:
        error_type: The platform's own kind of error; models' errors have theirs in `detail`.
        retryable: The header `X-Fal-Retryable`; empty for none.
    """

    status: int
    detail: str | list[dict[str, Any]]
    error_type: str = ""
    retryable: str = ""

    def body(self) -> dict[str, Any]:
        """The JSON of the result and of the webhook's payload."""
        return {"detail": self.detail, **({"error_type": self.error_type} if self.error_type else {})}

    def reply(self, request_id: str) -> web.Response:
        """The answer to the question about the result."""
        headers = {"x-fal-request-id": request_id}
        if self.error_type:
            headers["X-Fal-Error-Type"] = self.error_type
        if self.retryable:
            headers["X-Fal-Retryable"] = self.retryable
        return web.json_response(self.body(), status=self.status, headers=headers)


def model_error(kind: str, message: str, *place: str, **context: Any) -> list[dict[str, Any]]:
    """Return the `detail` of a model's error."""
    error = {"loc": ["body", *place], "msg": message, "type": kind, "url": f"{DOCS_URL}#{kind}"}
    return [{**error, "ctx": context} if context else error]


def plain_error(
    status: int, detail: str, *, error_type: str = "", headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an error of the platform."""
    body = {"detail": detail, **({"error_type": error_type} if error_type else {})}
    return web.json_response(body, status=status, headers=headers)


def gateway_page(status: int, words: str) -> web.Response:
    """Return the page of a gateway that reached nothing behind it."""
    text = f"<html><center><h1>{status} {words}</h1></center><hr><center>nginx</center></html>"
    return web.Response(status=status, text=text, content_type="text/html")


Take = Callable[[], "Job"]
OrderFault = Callable[["FalServer", web.Request, Take], Awaitable[web.StreamResponse]]


async def _rate_limited(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    return plain_error(429, "Too many requests.", headers={"Retry-After": server.behaviour.retry_after})


async def _server_error(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    return plain_error(500, "Internal Server Error")


async def _unavailable(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    return gateway_page(503, "Service Temporarily Unavailable")


async def _bad_gateway(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    return gateway_page(502, "Bad Gateway")


async def _account_locked(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    return plain_error(403, "User is locked. Reason: Exhausted balance. Top up your balance.")


async def _forbidden(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    return plain_error(403, "This key may not call this endpoint.")


async def _order_refused(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    return plain_error(400, "The timeout header is invalid.", error_type="bad_request")


async def _redirect(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect(f"{server.url}/elsewhere/app")


async def _hang(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    take()
    return await hang()


async def _dropped(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    take()
    return drop(request)


async def _dropped_early(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    return drop(request)


async def _gateway_timeout(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    take()
    return gateway_page(504, "Gateway Time-out")


async def _no_request_id(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    take()
    return web.json_response({"status": "IN_QUEUE"})


async def _reply_not_json(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    take()
    return web.Response(text="<html>Sign in to the proxy</html>", content_type="text/html")


async def _endless_reply(server: FalServer, request: web.Request, take: Take) -> web.StreamResponse:
    take()
    return web.Response(body=b" " * (2 * 2**20), content_type="application/json")


ORDER_FAULTS: Final[Mapping[str, OrderFault]] = {
    "rate_limited": _rate_limited,
    "server_error": _server_error,
    "unavailable": _unavailable,
    "bad_gateway": _bad_gateway,
    "account_locked": _account_locked,
    "forbidden": _forbidden,
    "order_refused": _order_refused,
    "redirect": _redirect,
    "dropped_early": _dropped_early,
    # These take the order before they misbehave.
    "hang": _hang,
    "dropped": _dropped,
    "gateway_timeout": _gateway_timeout,
    "no_request_id": _no_request_id,
    "reply_not_json": _reply_not_json,
    "endless_reply": _endless_reply,
}

QuestionFault = Callable[["FalServer", web.Request], Awaitable[web.StreamResponse]]


async def _question_unavailable(server: FalServer, request: web.Request) -> web.StreamResponse:
    return gateway_page(503, "Service Temporarily Unavailable")


async def _question_error(server: FalServer, request: web.Request) -> web.StreamResponse:
    return plain_error(500, "Internal Server Error", headers={"x-fal-request-id": "of-the-queue-itself"})


async def _question_limited(server: FalServer, request: web.Request) -> web.StreamResponse:
    return plain_error(429, "Too many requests.", headers={"Retry-After": server.behaviour.retry_after})


async def _question_dropped(server: FalServer, request: web.Request) -> web.StreamResponse:
    return drop(request)


async def _question_locked(server: FalServer, request: web.Request) -> web.StreamResponse:
    return plain_error(401, "Authentication is required to access this request.")


async def _unknown_status(server: FalServer, request: web.Request) -> web.StreamResponse:
    return web.json_response({"status": "DREAMING", "logs": None})


QUESTION_FAULTS: Final[Mapping[str, QuestionFault]] = {
    "question_unavailable": _question_unavailable,
    "question_error": _question_error,
    "question_limited": _question_limited,
    "question_dropped": _question_dropped,
    "question_locked": _question_locked,
    "unknown_status": _unknown_status,
}

JOB_ERRORS: Final[Mapping[str, JobError]] = {
    "content_policy": JobError(
        422,
        model_error(
            "content_policy_violation", "The content was flagged by a content checker.", "prompt", input="…"
        ),
        retryable="false",
    ),
    "no_media": JobError(422, model_error("no_media_generated", "The model brought no image.")),
    "model_error": JobError(
        500, model_error("internal_server_error", "Internal server error."), retryable="true"
    ),
    "hopeless": JobError(
        500, model_error("internal_server_error", "Internal server error."), retryable="false"
    ),
    "model_timeout": JobError(504, model_error("generation_timeout", "It took too long.")),
    "runner_lost": JobError(503, "Runner disconnected", "runner_disconnected"),
    "runner_timeout": JobError(504, "Request timed out", "request_timeout"),
    "never_begun": JobError(504, "Runner did not start in time", "startup_timeout"),
    "untyped_error": JobError(500, "Internal Server Error"),
    "stopped": JobError(499, "Request was cancelled", "client_cancelled"),
}
CANCELLED: Final = JOB_ERRORS["stopped"]

Payload = dict[str, Any]


def _no_images(server: FalServer, payload: Payload) -> Payload:
    return {**payload, "images": []}


def _all_flagged(server: FalServer, payload: Payload) -> Payload:
    return {**payload, "has_nsfw_concepts": [True] * len(payload["images"])}


def _one_flagged(server: FalServer, payload: Payload) -> Payload:
    return {**payload, "has_nsfw_concepts": [True, *payload["has_nsfw_concepts"][1:]]}


def _single_image(server: FalServer, payload: Payload) -> Payload:
    return {"image": payload["images"][0], "seed": payload["seed"]}


def _inline(server: FalServer, payload: Payload) -> Payload:
    uri = f"data:image/png;base64,{base64.b64encode(server.picture).decode()}"
    return {**payload, "images": [{**image, "url": uri} for image in payload["images"]]}


def _not_base64(server: FalServer, payload: Payload) -> Payload:
    return {**payload, "images": [{"url": "data:image/png;base64,%%%"}]}


def _foreign_values(server: FalServer, payload: Payload) -> Payload:
    return {**payload, "prompt": "a\x00b\ud800", "timings": json.loads('{"inference": NaN, "all": 1e999}')}


RESULT_FAULTS: Final[Mapping[str, Callable[[FalServer, Payload], Payload]]] = {
    "no_images": _no_images,
    "all_flagged": _all_flagged,
    "one_flagged": _one_flagged,
    "single_image": _single_image,
    "inline": _inline,
    "not_base64": _not_base64,
    "foreign_values": _foreign_values,
}
FILE_FAULTS: Final = ("truncated", "wrong_type", "file_missing", "file_unavailable", "file_elsewhere")
FAULTS: Final = (*ORDER_FAULTS, *QUESTION_FAULTS, *JOB_ERRORS, *RESULT_FAULTS, *FILE_FAULTS)
