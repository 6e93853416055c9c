"""Seal secrets for the database: only who has the sealing keys can read them or make them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_PURPOSE = b"mayagen provider keys"
_PURPOSE_OF_ID = b"mayagen sealing key id"
_ID_LENGTH = 12


class SealBrokenError(Exception):
    """The sealed text was sealed under another key or for another name, or was changed."""


class Sealer:
    """Seals under the first key, opens under any.

    Args:
        keys: Long random texts; at least one.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(_derive(key, _PURPOSE))) for key in keys])
        self.key_id = _derive(keys[0], _PURPOSE_OF_ID).hex()[:_ID_LENGTH]
        """Names the first key without telling it."""

    def seal(self, *, name: str, secret: str) -> str:
        """Return the secret sealed, so that it opens under this name alone."""
        return self._fernet.encrypt(json.dumps([name, secret]).encode()).decode()

    def open(self, *, name: str, sealed: str) -> str:
        """Return the secret.

        Raises:
            SealBrokenError: None of the keys opens it, or it was sealed for another name.
        """
        try:
            sealed_name, secret = json.loads(self._fernet.decrypt(sealed.encode()))
        except InvalidToken:
            raise SealBrokenError from None
        if sealed_name != name:
            raise SealBrokenError
        return str(secret)

    def reseal(self, sealed: str) -> str:
        """Return the same secret sealed under the first key.

        Raises:
            SealBrokenError: None of the keys opens it.
        """
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken:
            raise SealBrokenError from None


def _derive(key: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose).derive(key.encode())
