"""How often one client may call: REST framework's door to the one rate limiter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.rate_limits import take

if TYPE_CHECKING:
    # REST framework's views import the throttles that the settings name.
    from rest_framework.views import APIView


class RowThrottle(BaseThrottle):
    """Limits the views that declare `throttle_scope`, `throttle_rate_per_minute` and `throttle_burst`.

    Signed-in people are counted by user, others by address; the address is the connection's own unless
    `NUM_PROXIES` says that a proxy may name another. Counting is atomic over all processes.
    """

    def __init__(self) -> None:
        self._wait_s = 0.0

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Return whether the view is unlimited or the client has a call left."""
        scope = getattr(view, "throttle_scope", None)
        if scope is None:
            return True
        user = request.user
        client = f"user:{user.pk}" if user.is_authenticated else f"address:{self.get_ident(request)}"
        self._wait_s = take(
            f"api:{scope}:{client}"[:200],
            rate_per_minute=view.throttle_rate_per_minute,  # type: ignore[attr-defined]
            burst=view.throttle_burst,  # type: ignore[attr-defined]
        )
        return self._wait_s <= 0

    def wait(self) -> float | None:
        """Return the seconds after which the next call is granted."""
        return self._wait_s
