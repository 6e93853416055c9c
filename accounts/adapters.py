"""Sign-in as allauth does it, with the product's own rules."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts import services, sign_in_limits
from accounts.addresses import get_client_address
from accounts.models import User


class AccountAdapter(DefaultAccountAdapter):
    """Closes sign-up, limits guessing, and writes passwords through the product's own verb."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "account_inactive": "This account has been deactivated. Ask an administrator.",
        "email_password_mismatch": "The e-mail address or the password is wrong.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return False: people are made by administrators."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the visitor's address as far as our own proxies vouch for it."""
        return get_client_address(request) or "0.0.0.0"  # noqa: S104 - an unknown address, nothing is bound

    def authenticate(self, request: HttpRequest, **credentials: Any) -> AbstractBaseUser | None:
        """Return the person with these credentials, or None.

        Raises:
            ValidationError: Too many wrong passwords, or the account is deactivated. The seconds to wait
                are then in `request.sign_in_wait_seconds`.
        """
        attempt = sign_in_limits.begin_attempt(
            email=str(credentials.get("email", "")), address=get_client_address(request)
        )
        if attempt.wait_seconds:
            request.sign_in_wait_seconds = attempt.wait_seconds  # type: ignore[attr-defined]
            raise self.validation_error("too_many_login_attempts")
        user = super().authenticate(request, **credentials)
        if user is not None:
            sign_in_limits.forgive_attempt(attempt)
            if not user.is_active:
                raise self.validation_error("account_inactive")
        return user

    def respond_user_inactive(self, request: HttpRequest, user: AbstractBaseUser) -> HttpResponse:
        """Return to the sign-in page, for whom is deactivated between password and session."""
        messages.error(request, str(self.error_messages["account_inactive"]))
        return redirect("account_login")

    def set_password(self, user: AbstractBaseUser, password: str) -> None:
        """Write the password that a person chose for themselves."""
        assert isinstance(user, User)  # noqa: S101 - narrows allauth's type
        services.set_own_password(actor=user, password=password)
