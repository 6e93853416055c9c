"""The pages at the door: allauth's, answering too many tries with 429 and dead links with 400."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from allauth.account import views as allauth_views
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts import sign_in_limits
from accounts.addresses import get_client_address


def refuse_for_now(response: HttpResponse, wait_seconds: float) -> HttpResponse:
    """Make a response say 429 and when to come back."""
    response.status_code = HTTPStatus.TOO_MANY_REQUESTS
    response["Retry-After"] = str(math.ceil(wait_seconds))
    return response


class LoginView(allauth_views.LoginView):
    """Sign-in by e-mail and password."""

    def form_invalid(self, form: Form) -> HttpResponse:
        """Show the form again; with 429 when the password was not even looked at."""
        response = super().form_invalid(form)
        wait_seconds = getattr(self.request, "sign_in_wait_seconds", 0.0)
        return refuse_for_now(response, wait_seconds) if wait_seconds else response


class PasswordChangeView(allauth_views.PasswordChangeView):
    """Changes one's own password; who found an open browser gets few guesses at the old one."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Look at the old password, if there were not too many wrong ones."""
        attempt = sign_in_limits.begin_change(user_id=str(request.user.pk))
        if attempt.wait_seconds:
            form: Form = self.get_form()  # type: ignore[no-untyped-call]
            form.add_error(None, "Too many wrong passwords. Try again later.")
            return refuse_for_now(self.form_invalid(form), attempt.wait_seconds)
        response: HttpResponse = super().post(request, *args, **kwargs)
        if response.status_code == HTTPStatus.FOUND:
            sign_in_limits.forgive_attempt(attempt)
        return response


class PasswordResetView(allauth_views.PasswordResetView):
    """Asks for a mail with a link to a new password."""

    def form_valid(self, form: Form) -> HttpResponse:
        """Send the mail, if the account and the visitor have not had too many."""
        wait_seconds = sign_in_limits.count_reset(
            email=form.cleaned_data["email"], address=get_client_address(self.request)
        )
        if wait_seconds:
            form.add_error(None, "Too many mails were asked for. Try again later.")
            return refuse_for_now(self.form_invalid(form), wait_seconds)
        return super().form_valid(form)


class PasswordResetFromKeyView(allauth_views.PasswordResetFromKeyView):
    """Takes a new password from whoever followed the mailed link."""

    def dispatch(self, request: HttpRequest, uidb36: str, key: str, **kwargs: Any) -> HttpResponseBase:
        """Serve the form; answer 400 for a link that is used, old or made up."""
        response = super().dispatch(request, uidb36, key, **kwargs)
        if response.status_code == HTTPStatus.OK and self.reset_user is None:
            response.status_code = HTTPStatus.BAD_REQUEST
        return response
