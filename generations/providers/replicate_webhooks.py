"""Whether a webhook is Replicate's: an HMAC-SHA256 with the secret that Replicate keeps for our account.

Source: Replicate's documentation, page Verify webhooks, which is the scheme of Standard Webhooks. Its library
takes the time from the machine's clock and raises whatever a forged header makes it stumble over, so it is
the tests' judge and not what runs here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from generations.providers.base import ErrorCode, ProviderError, WebhookRefusedError
from generations.providers.replies import parse_object

MAX_SKEW_SECONDS: Final = 300
MAX_SECRET_AGE_SECONDS: Final = 24 * 3600
# A signature that does not match may be by a new secret. Forged ones must not make us ask each time.
MIN_SECONDS_BETWEEN_FETCHES: Final = 60
_PREFIX: Final = "whsec_"
_MAX_SIGNATURES: Final = 20
_MAX_TIMESTAMP_DIGITS: Final = 12

FetchSecret = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class _Secret:
    key: bytes
    fetched_at: float


_secrets: dict[str, _Secret] = {}


def forget_secrets() -> None:
    """Forget the secrets, as a new process does."""
    _secrets.clear()


async def verify_webhook(
    *, account: str, fetch_secret: FetchSecret, headers: Mapping[str, str], body: bytes, now: float
) -> None:
    """Return if Replicate signed this webhook within the last five minutes.

    Args:
        account: What tells one account's secret from another's.
        fetch_secret: Asks Replicate for the secret; returns the reply's body.

    Raises:
        WebhookRefusedError: It did not.
        ProviderError: The secret could not be fetched.
    """
    signed, signatures = _read_signed(headers, body, now)
    known = _secrets.get(account)
    if known is None or not 0 <= now - known.fetched_at < MAX_SECRET_AGE_SECONDS:
        known = await _renew(account, fetch_secret, now)
    if _matches(known.key, signed, signatures):
        return
    if now - known.fetched_at >= MIN_SECONDS_BETWEEN_FETCHES:
        known = await _renew(account, fetch_secret, now)
        if _matches(known.key, signed, signatures):
            return
    raise WebhookRefusedError("The signature is not by the account's secret.")


def _read_signed(headers: Mapping[str, str], body: bytes, now: float) -> tuple[bytes, list[bytes]]:
    """The bytes that were signed, and the signatures of the kind that we know."""
    lowered = {name.lower(): value for name, value in headers.items()}
    values = [lowered.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")]
    if not all(values):
        raise WebhookRefusedError("A header of the signature is missing.")
    message_id, timestamp, signatures = values
    if not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > _MAX_TIMESTAMP_DIGITS:
        raise WebhookRefusedError("The time of the signature is no number of seconds.")
    if abs(now - int(timestamp)) > MAX_SKEW_SECONDS:
        raise WebhookRefusedError("The signature is too old, or of the future.")
    start = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape")
    return start + body, [_decode(text) for text in signatures.split()[:_MAX_SIGNATURES]]


def _decode(versioned: str) -> bytes:
    """The signature's bytes; empty for another version, whose rules we do not know."""
    version, _, encoded = versioned.partition(",")
    if version != "v1":
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _matches(key: bytes, signed: bytes, signatures: list[bytes]) -> bool:
    expected = hmac.digest(key, signed, hashlib.sha256)
    return any(hmac.compare_digest(expected, signature) for signature in signatures)


async def _renew(account: str, fetch_secret: FetchSecret, now: float) -> _Secret:
    key = _parse_secret(await fetch_secret())
    if not key:
        raise ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, "Replicate's reply holds no webhook secret.")
    _secrets[account] = _Secret(key, now)
    return _secrets[account]


def _parse_secret(content: bytes) -> bytes:
    text = parse_object(content).get("key")
    try:
        return base64.b64decode(text.removeprefix(_PREFIX)) if isinstance(text, str) else b""
    except ValueError:
        return b""
