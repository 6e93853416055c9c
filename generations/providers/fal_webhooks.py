"""Whether a webhook is fal's: its ED25519 signature, checked with the keys that fal publishes.

Source: fal's documentation, page Webhooks. The signed message is four lines: request id, user id, time, and
the SHA-256 of the body in hex. The keys may be kept for 24 hours at most.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from generations.providers.base import ErrorCode, ProviderError, WebhookRefusedError
from generations.providers.replies import parse_object
from mayagen.common.http_safety import OutgoingRequestError, download

MAX_SKEW_SECONDS: Final = 300
MAX_KEY_AGE_SECONDS: Final = 24 * 3600
# A signature by a key that is not known yet may be by a new one. Forged ones must not make us ask each time.
MIN_SECONDS_BETWEEN_FETCHES: Final = 60
_MAX_KEYS: Final = 20
_MAX_KEY_SET_BYTES: Final = 64 * 1024
_FETCH_TIMEOUT_SECONDS: Final = 10.0
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class _KeySet:
    keys: tuple[Ed25519PublicKey, ...]
    fetched_at: float


_key_sets: dict[str, _KeySet] = {}


@dataclass(frozen=True, slots=True)
class _Signed:
    message: bytes
    signature: bytes


def forget_keys() -> None:
    """Forget the published keys, as a new process does."""
    _key_sets.clear()


async def verify_webhook(
    session: aiohttp.ClientSession, keys_url: str, *, headers: Mapping[str, str], body: bytes, now: float
) -> None:
    """Return if fal signed this webhook within the last five minutes.

    Raises:
        WebhookRefusedError: It did not.
        ProviderError: The published keys could not be fetched.
    """
    signed = _read_signed(headers, body, now)
    known = _key_sets.get(keys_url)
    if known is None or not 0 <= now - known.fetched_at < MAX_KEY_AGE_SECONDS:
        known = await _fetch_keys(session, keys_url, now)
    if _matches(known, signed):
        return
    if now - known.fetched_at >= MIN_SECONDS_BETWEEN_FETCHES:
        known = await _fetch_keys(session, keys_url, now)
        if _matches(known, signed):
            return
    raise WebhookRefusedError("The signature is by none of the published keys.")


def _read_signed(headers: Mapping[str, str], body: bytes, now: float) -> _Signed:
    lowered = {name.lower(): value for name, value in headers.items()}
    names = ("request-id", "user-id", "timestamp", "signature")
    values = [lowered.get(f"x-fal-webhook-{name}", "") for name in names]
    if not all(values):
        raise WebhookRefusedError("A header of the signature is missing.")
    request_id, user_id, timestamp, signature_hex = values
    if not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 12:  # noqa: PLR2004
        raise WebhookRefusedError("The time of the signature is no number of seconds.")
    if abs(now - int(timestamp)) > MAX_SKEW_SECONDS:
        raise WebhookRefusedError("The signature is too old, or of the future.")
    try:
        signature = bytes.fromhex(signature_hex)
    except ValueError:
        signature = b""
    if len(signature) != _SIGNATURE_BYTES:
        raise WebhookRefusedError("The signature is not 64 bytes in hex.")
    lines = (request_id, user_id, timestamp, hashlib.sha256(body).hexdigest())
    return _Signed(message="\n".join(lines).encode("utf-8", "surrogateescape"), signature=signature)


def _matches(key_set: _KeySet, signed: _Signed) -> bool:
    for key in key_set.keys:
        try:
            key.verify(signed.signature, signed.message)
        except InvalidSignature:
            continue
        return True
    return False


async def _fetch_keys(session: aiohttp.ClientSession, keys_url: str, now: float) -> _KeySet:
    try:
        content = await download(
            session, keys_url, max_bytes=_MAX_KEY_SET_BYTES, timeout_seconds=_FETCH_TIMEOUT_SECONDS
        )
    except OutgoingRequestError as error:
        message = f"fal's webhook keys could not be fetched ({error.code}): {error}"
        raise ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, message) from error
    keys = _parse_keys(content)
    if not keys:
        raise ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, "fal's set of webhook keys holds no usable key.")
    _key_sets[keys_url] = _KeySet(keys, now)
    return _key_sets[keys_url]


def _parse_keys(content: bytes) -> tuple[Ed25519PublicKey, ...]:
    records = parse_object(content).get("keys")
    if not isinstance(records, list):
        return ()
    raw_keys = [_raw_key(record) for record in records[:_MAX_KEYS]]
    return tuple(Ed25519PublicKey.from_public_bytes(raw) for raw in raw_keys if len(raw) == _KEY_BYTES)


def _raw_key(record: object) -> bytes:
    """The 32 bytes of an Ed25519 key; empty for a key of another kind."""
    if not isinstance(record, dict) or record.get("crv", "Ed25519") != "Ed25519":
        return b""
    encoded = record.get("x")
    if not isinstance(encoded, str):
        return b""
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except ValueError:
        return b""
