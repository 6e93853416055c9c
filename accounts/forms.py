"""What people type at the door, where only plain letters match.

Letters of other alphabets can become plain ones in lower case, and who typed them would pass for somebody
else (CVE-2019-19844).
"""

from __future__ import annotations

from allauth.account.forms import LoginForm as AllauthLoginForm
from allauth.account.forms import ResetPasswordForm as AllauthResetPasswordForm
from django.core.exceptions import ValidationError


class LoginForm(AllauthLoginForm):
    """Signs in by e-mail and password."""

    def clean_login(self) -> str:
        """Return the address, if it was typed in plain letters."""
        _require_plain(self.data.get(self.add_prefix("login")))
        return str(super().clean_login())


class ResetPasswordForm(AllauthResetPasswordForm):
    """Asks for a password mail."""

    def clean_email(self) -> str:
        """Return the address, if it was typed in plain letters."""
        _require_plain(self.data.get(self.add_prefix("email")))
        return str(super().clean_email())


def _require_plain(typed: str | None) -> None:
    if not (typed or "").isascii():
        raise ValidationError("Enter an e-mail address of plain letters.")
