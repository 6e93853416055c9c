"""One call, and what a broken one and a reply's headers mean, whichever provider is at the other end."""

from __future__ import annotations

import email.utils
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
from yarl import URL

from generations.providers.base import ErrorCode, ProviderError
from mayagen.common.http_safety import (
    CONNECT_TIMEOUT_SECONDS,
    BlockedAddressError,
    InvalidAddressError,
    OutgoingRequestError,
    ReplyTooLargeError,
    read_capped,
)
from mayagen.common.spooling import SpoolError

BROKEN_CALLS: Final = (OutgoingRequestError, SpoolError, aiohttp.ClientError, TimeoutError, OSError)

CODES_BY_STATUS: Final[Mapping[int, ErrorCode]] = {
    401: ErrorCode.CONFIGURATION,
    402: ErrorCode.QUOTA_EXHAUSTED,
    403: ErrorCode.CONFIGURATION,
    404: ErrorCode.CONFIGURATION,
    405: ErrorCode.CONFIGURATION,
    408: ErrorCode.TIMEOUT,
    409: ErrorCode.PROVIDER_UNAVAILABLE,
    425: ErrorCode.PROVIDER_UNAVAILABLE,
    429: ErrorCode.RATE_LIMITED,
}
"""What the statuses of providers with job ids mean, where nothing else in the reply tells."""
GATEWAY_IN_DOUBT: Final = frozenset({502, 504, 520, 522, 523, 524})
"""A gateway that got no whole answer does not know what became of the order behind it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read once; of a refusal whose body broke off, the status alone."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def send(
    session: aiohttp.ClientSession,
    method: str,
    url: str | URL,
    *,
    headers: Mapping[str, str],
    timeout_seconds: float,
    max_bytes: int,
    data: Any = None,
) -> Reply:
    """Make one call, follow nothing, repeat nothing.

    Raises:
        BROKEN_CALLS: One of them, for `error_from_transport`.
    """
    timeout = aiohttp.ClientTimeout(
        total=timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds / 2)
    )
    async with session.request(
        method, url, headers=headers, data=data, timeout=timeout, allow_redirects=False
    ) as response:
        try:
            body = await read_capped(response, max_bytes=max_bytes)
        except BROKEN_CALLS:
            if response.status < 400:  # noqa: PLR2004
                raise
            body = b""
        return Reply(status=response.status, headers=response.headers.copy(), body=body)


@contextmanager
def placing_order(api_key: str) -> Iterator[None]:
    """Class what breaks a call that orders work by its job id.

    Raises:
        ProviderError: `outcome_unknown` when the order may have been taken all the same.
    """
    try:
        yield
    except ReplyTooLargeError as error:
        raise ProviderError(ErrorCode.OUTCOME_UNKNOWN, str(error)) from error
    except BROKEN_CALLS as error:
        raise error_from_transport(error, api_key) from error


def error_from_transport(error: Exception, api_key: str, *, only_asks: bool = False) -> ProviderError:
    """Return the class of a broken call; whatever may have reached the provider counts as sent.

    Args:
        only_asks: The call starts nothing and costs nothing, so that a lost answer leaves no doubt.
    """
    match error:
        case BlockedAddressError() | InvalidAddressError() | aiohttp.InvalidURL():
            code = ErrorCode.CONFIGURATION
        case ReplyTooLargeError():
            code = ErrorCode.BAD_OUTPUT
        case aiohttp.ConnectionTimeoutError():
            code = ErrorCode.TIMEOUT
        case aiohttp.ClientConnectorError() | aiohttp.ClientConnectorCertificateError():
            code = ErrorCode.PROVIDER_UNAVAILABLE
        case _:
            code = ErrorCode.PROVIDER_UNAVAILABLE if only_asks else ErrorCode.OUTCOME_UNKNOWN
    return ProviderError(code, str(error) or type(error).__name__, secrets=(api_key,))


def first_header(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """Return the first of these headers that the reply has, cut to 200 characters."""
    return next((headers[name][:200] for name in names if headers.get(name)), None)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the reply asks to wait, from either of its two headers and both forms."""
    milliseconds = headers.get("retry-after-ms")
    value = headers.get("retry-after")
    try:
        if milliseconds is not None:
            return float(milliseconds) / 1000
        return None if value is None else float(value)
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
