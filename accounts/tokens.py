"""Tokens for scripts: allauth's, with refreshing made safe against theft and races."""

from __future__ import annotations

from allauth.headless.tokens.strategies.jwt import JWTTokenStrategy, internal
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest


class RowLockedJWTStrategy(JWTTokenStrategy):
    """Refreshes one at a time for each sign-in; a refresh token used twice ends the sign-in.

    As shipped, parallel refreshes with one token all succeed, and whoever holds a stolen and already used
    token leaves no trace.
    """

    def get_session_token(self, request: HttpRequest) -> str | None:
        """Return None: every sign-in begins a session of its own, whatever stale credentials come along."""
        return None

    def refresh_token(self, refresh_token: str) -> tuple[str, str] | None:
        """Return a new access and refresh token, or None when the given one is not good (any more)."""
        payload = internal.decode_token(refresh_token, "refresh")
        session_key = internal.session_key_from_sid(payload["sid"]) if payload else None
        if session_key is None:
            return None
        with transaction.atomic():
            locked = Session.objects.select_for_update().filter(session_key=session_key).first()
            if locked is None:
                return None
            pair = super().refresh_token(refresh_token)
            if pair is None:
                locked.delete()
            return pair
