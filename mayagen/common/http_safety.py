"""The one outgoing HTTP client: it connects to public addresses only, follows nothing, reads with a cap.

The check stands where the socket is made, so that literal addresses, odd spellings, embedded IPv4
addresses and names that change their answer (DNS rebinding) all meet it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from yarl import URL

from mayagen.common.spooling import Spool

PUBLIC_PORTS: Final = frozenset({80, 443, 8080, 8443})
CONNECT_TIMEOUT_SECONDS: Final = 10.0
MAX_URL_CHARS: Final = 8192
KEPT_SECONDS: Final = 5.0
_CHUNK_BYTES: Final = 64 * 1024
_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f\\]")

# Neither `is_global` nor its companions know all of these as unreachable for a public client.
_REFUSED_NETWORKS: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

Endpoint = tuple[str, int]
AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


class OutgoingRequestError(Exception):
    """A request to the outside was not made, or its answer was not taken; `code` says why."""

    code: ClassVar[str] = "request_failed"


class BlockedAddressError(OutgoingRequestError):
    """The address is not public, or its port is not one that the web uses; nothing was sent."""

    code: ClassVar[str] = "address_blocked"


class InvalidAddressError(OutgoingRequestError):
    """The text is no plain http or https URL."""

    code: ClassVar[str] = "url_invalid"


class RedirectRefusedError(OutgoingRequestError):
    """The server wanted to send us elsewhere."""

    code: ClassVar[str] = "redirect_refused"


class ReplyTooLargeError(OutgoingRequestError):
    """The answer is longer than allowed; reading stopped there."""

    code: ClassVar[str] = "reply_too_large"


class ReplyStatusError(OutgoingRequestError):
    """The server answered with another status than 200."""

    code: ClassVar[str] = "reply_status"

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"The server answered with status {status}.")


class DownloadTimeoutError(OutgoingRequestError):
    """The file did not arrive in time."""

    code: ClassVar[str] = "download_timeout"


class ConnectionFailedError(OutgoingRequestError):
    """The server could not be reached, or the connection broke."""

    code: ClassVar[str] = "connection_failed"


def is_public_address(address: str) -> bool:
    """Return whether an IP address, with what is embedded in it unwrapped, is a public unicast one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if embedded is None and ip in _NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public_address(str(embedded))
    if any(ip.version == network.version and ip in network for network in _REFUSED_NETWORKS):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)


class _AddressPolicy:
    """The addresses and ports that one session may connect to."""

    def __init__(self, allowed_endpoints: frozenset[Endpoint]) -> None:
        self.allowed_names = frozenset((host.lower().strip("[]"), port) for host, port in allowed_endpoints)
        # Grows by the addresses that the allowed names resolve to: a container restarts elsewhere.
        self.allowed_addresses = set(self.allowed_names)

    def permits(self, address: str, port: int) -> bool:
        return (address, port) in self.allowed_addresses or (
            port in PUBLIC_PORTS and is_public_address(address)
        )

    def check(self, address: str, port: int) -> None:
        if not self.permits(address, port):
            # Without the address: what a name resolves to inside is nobody's business outside.
            raise BlockedAddressError("The address is not a public one, or its port is not a web port.")

    def make_socket(self, addr_info: AddrInfo) -> socket.socket:
        family, kind, protocol, _, address = addr_info
        self.check(address[0], address[1])
        return socket.socket(family=family, type=kind, proto=protocol)


class _CheckedResolver(AbstractResolver):
    """Refuses a name as a whole when any of its addresses is refused."""

    def __init__(self, policy: _AddressPolicy) -> None:
        self._policy = policy
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        if (host.lower().rstrip("."), port) in self._policy.allowed_names:
            self._policy.allowed_addresses.update((result["host"], port) for result in results)
        for result in results:
            self._policy.check(result["host"], port)
        return results

    async def close(self) -> None:
        await self._resolver.close()


class _Connector(aiohttp.TCPConnector):
    """Keeps connections for what only asks; whatever else leaves on a new one, which ends with its answer.

    A kept connection that the server closes just as a POST leaves looks like a call of unknown outcome,
    which nobody may repeat; a lost question is simply asked again.
    """

    def __init__(self, policy: _AddressPolicy) -> None:
        shared: dict[str, Any] = {
            "limit": 0,
            "socket_factory": policy.make_socket,
            # Attempts one after the other: only so does a refusal reach the caller as itself.
            "happy_eyeballs_delay": None,
        }
        super().__init__(**shared, resolver=_CheckedResolver(policy), keepalive_timeout=KEPT_SECONDS)
        self._unshared = aiohttp.TCPConnector(**shared, resolver=_CheckedResolver(policy), force_close=True)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the connector's own name for its settings
    ) -> Connection:
        if req.method == "GET":
            return await super().connect(req, traces, timeout)
        return await self._unshared.connect(req, traces, timeout)

    async def close(self, *, abort_ssl: bool = False) -> None:
        await self._unshared.close(abort_ssl=abort_ssl)
        await super().close(abort_ssl=abort_ssl)


def create_session(*, allowed_endpoints: frozenset[Endpoint] = frozenset()) -> aiohttp.ClientSession:
    """Return a client for the running event loop; the caller closes it.

    Args:
        allowed_endpoints: Pairs of host and port, the host literally as in the URL (a name or an address),
            that may be reached although they are not public. An operator's setting, never a user's.

    Raises:
        BlockedAddressError: By each request to any other address that is not public.
    """
    return aiohttp.ClientSession(
        connector=_Connector(_AddressPolicy(allowed_endpoints)),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        # Caps count what is read, so nothing may grow after it has been counted.
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "MayaGen"},
        timeout=aiohttp.ClientTimeout(total=60, connect=CONNECT_TIMEOUT_SECONDS),
    )


def parse_public_url(url: str) -> URL:
    """Return a plain http or https URL with a host, and without credentials.

    Raises:
        InvalidAddressError: If it is anything else.
    """
    if len(url) > MAX_URL_CHARS or _NOT_IN_URLS.search(url):
        raise InvalidAddressError("The address is too long or holds characters that no URL has.")
    try:
        parsed = URL(url)
        port = parsed.port
    except ValueError as error:
        raise InvalidAddressError("The address is no URL.") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host or not port:
        raise InvalidAddressError("The address must begin with http:// or https:// and name a host.")
    if parsed.user is not None or parsed.password is not None:
        raise InvalidAddressError("The address must not hold a user name or password.")
    return parsed


async def read_capped(response: aiohttp.ClientResponse, *, max_bytes: int) -> bytes:
    """Return the body of a response, never holding more than `max_bytes` of it.

    Raises:
        ReplyTooLargeError: If it is longer, known from its header or while reading.
        ConnectionFailedError: If it is compressed, which was not asked for.
    """
    body = bytearray()
    async for part in _read_parts(response, max_bytes):
        body += part
    return bytes(body)


async def spool_capped(response: aiohttp.ClientResponse, spool: Spool, *, max_bytes: int) -> None:
    """Keep the body of a response in the spool; it raises what `read_capped` does.

    Raises:
        SpoolError: This machine could not keep it.
    """
    async for part in _read_parts(response, max_bytes):
        await spool.add(part)


async def _read_parts(response: aiohttp.ClientResponse, max_bytes: int) -> AsyncIterator[bytes]:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ConnectionFailedError("The server compressed its answer although it was asked not to.")
    if response.content_length is not None and response.content_length > max_bytes:
        raise ReplyTooLargeError(f"The answer is longer than {max_bytes} bytes.")
    n_bytes = 0
    async for part in response.content.iter_chunked(_CHUNK_BYTES):
        n_bytes += len(part)
        if n_bytes > max_bytes:
            raise ReplyTooLargeError(f"The answer is longer than {max_bytes} bytes.")
        yield part


async def download(
    session: aiohttp.ClientSession, url: str, *, max_bytes: int, timeout_seconds: float
) -> bytes:
    """Return the bytes behind a URL, read once, without following a redirect.

    Raises:
        OutgoingRequestError: One of its kinds, whose `code` says why there are no bytes.
    """
    async with _get(session, url, timeout_seconds) as response:
        return await read_capped(response, max_bytes=max_bytes)


async def download_into(
    spool: Spool, session: aiohttp.ClientSession, url: str, *, max_bytes: int, timeout_seconds: float
) -> None:
    """Keep the bytes behind a URL in the spool as they come; otherwise as `download` does.

    Raises:
        OutgoingRequestError: One of its kinds, whose `code` says why they did not all come.
        SpoolError: This machine could not keep them.
    """
    async with _get(session, url, timeout_seconds) as response:
        await spool_capped(response, spool, max_bytes=max_bytes)


@asynccontextmanager
async def _get(
    session: aiohttp.ClientSession, url: str, timeout_seconds: float
) -> AsyncIterator[aiohttp.ClientResponse]:
    target = parse_public_url(url)
    timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS)
    try:
        async with session.get(target, allow_redirects=False, timeout=timeout) as response:
            if response.status in {301, 302, 303, 307, 308}:
                raise RedirectRefusedError("The server redirected the request, which is not followed.")
            if response.status != 200:  # noqa: PLR2004
                raise ReplyStatusError(response.status)
            yield response
    except TimeoutError as error:
        raise DownloadTimeoutError("The file did not arrive in time.") from error
    except aiohttp.InvalidURL as error:
        raise InvalidAddressError("The address is no URL.") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ConnectionFailedError("The connection failed or broke.") from error
