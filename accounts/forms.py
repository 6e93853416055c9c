"""What people type at the door."""

from __future__ import annotations

from allauth.account.forms import ResetPasswordForm as AllauthResetPasswordForm
from django.core.exceptions import ValidationError


class ResetPasswordForm(AllauthResetPasswordForm):
    """Asks for a password mail; never for an address that only looks like somebody's."""

    def clean_email(self) -> str:
        """Return the address that was typed.

        Letters of other alphabets can become somebody else's plain ones in lower case, and the mail would
        go where they were typed for (CVE-2019-19844).
        """
        if not str(self.data.get(self.add_prefix("email"), "")).isascii():
            raise ValidationError("Enter an e-mail address of plain letters.")
        return str(super().clean_email())
