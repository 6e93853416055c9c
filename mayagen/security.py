"""Headers that tell browsers what a page may do, and an id for every request.

The policies have the shape of Django 6's `SECURE_CSP`, so that its own middleware can take over.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence

from django.http import HttpRequest, HttpResponse

from mayagen.common.ids import random_id

Policy = Mapping[str, Sequence[str]]

NONCE = "<CSP_NONCE_SENTINEL>"

STRICT_POLICY: Policy = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["'self'", "data:", "blob:"],
    "media-src": ["'self'"],
    "font-src": ["'self'"],
    "connect-src": ["'self'"],
    "manifest-src": ["'self'"],
    "worker-src": ["'self'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
    "base-uri": ["'none'"],
}

# The theme's Alpine.js compiles expressions (`unsafe-eval`) and sets style attributes; scripts come from
# this site or carry the request's nonce all the same.
ADMIN_POLICY: Policy = {
    **STRICT_POLICY,
    "script-src": ["'self'", NONCE, "'unsafe-eval'"],
    "style-src": ["'self'", "'unsafe-inline'"],
}

PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in ("camera", "display-capture", "geolocation", "microphone", "payment", "serial", "usb")
)

_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")

GetResponse = Callable[[HttpRequest], HttpResponse]


def _write(policy: Policy) -> str:
    return "; ".join(f"{directive} {' '.join(values)}" for directive, values in policy.items())


# Every answer carries one, so they are put together once.
_STRICT_POLICY_TEXT = _write(STRICT_POLICY)
_ADMIN_POLICY_TEXT = _write(ADMIN_POLICY)


class ContentSecurityPolicyMiddleware:
    """Sends the strict policy with every answer, and the wider one with the admin's pages alone.

    Templates of the admin name `request.csp_nonce` on inline scripts. A view that has set a policy of its
    own keeps it.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        nonce = secrets.token_urlsafe(16)
        request.csp_nonce = nonce  # type: ignore[attr-defined]
        response = self._get_response(request)
        match = request.resolver_match
        policy = _ADMIN_POLICY_TEXT if match and "admin" in match.namespaces else _STRICT_POLICY_TEXT
        response.headers.setdefault("Content-Security-Policy", _with_nonce(policy, nonce))
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response


class RequestIdMiddleware:
    """Gives every request an id, `request.request_id`, and tells it in `X-Request-ID`.

    A client's own id is taken over when it is 1 to 64 letters, digits and hyphens, and replaced
    otherwise: it ends up in logs.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if _REQUEST_ID.match(given) else str(random_id())
        request.request_id = request_id  # type: ignore[attr-defined]
        response = self._get_response(request)
        response.headers["X-Request-ID"] = request_id
        return response


def build_policy(policy: Policy, nonce: str) -> str:
    """Return the value of the Content-Security-Policy header."""
    return _with_nonce(_write(policy), nonce)


def _with_nonce(text: str, nonce: str) -> str:
    return text.replace(NONCE, f"'nonce-{nonce}'")
