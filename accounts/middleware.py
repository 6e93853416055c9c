"""What the rest of a request may know of its surroundings."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from accounts.addresses import get_client_address
from accounts.audit import current_ip_address


class AuditContextMiddleware:
    """Lets audit entries name the address that a request came from."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve the request with its address known, and forget it before the thread serves another."""
        token = current_ip_address.set(get_client_address(request))
        try:
            return self.get_response(request)
        finally:
            current_ip_address.reset(token)
