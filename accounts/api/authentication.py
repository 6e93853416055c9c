"""How a request to the API says who is asking: a bearer token, or the browser's session with CSRF."""

from __future__ import annotations

from typing import Any

from allauth.headless.contrib.rest_framework.authentication import JWTTokenAuthentication
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request


class TokenAuthentication(JWTTokenAuthentication):
    """A bearer access token; its session and its person are looked at for each request (two queries).

    Stands first in the settings, so that who is nobody gets 401 and not 403.
    """

    def authenticate_header(self, request: Request) -> str:
        """Return what a 401 asks for."""
        return 'Bearer realm="api"'


class BrowserSessionAuthentication(SessionAuthentication):
    """The session of the pages; anything but reading needs the CSRF token."""


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes the bearer token in the schema."""

    target_class = TokenAuthentication
    name = "token"
    priority = 1

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the scheme object."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class BrowserSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes the session cookie in the schema."""

    target_class = BrowserSessionAuthentication
    name = "session"
    priority = 1

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the scheme object."""
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
