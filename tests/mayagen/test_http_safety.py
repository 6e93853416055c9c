"""The outgoing client: no packet to an address that is not public, no redirect, no body beyond its cap."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from mayagen.common.http_safety import (
    BlockedAddressError,
    ConnectionFailedError,
    DownloadTimeoutError,
    InvalidAddressError,
    OutgoingRequestError,
    RedirectRefusedError,
    ReplyStatusError,
    ReplyTooLargeError,
    create_session,
    download,
    is_public_address,
)


class Server:
    """A web server on loopback that counts what reaches it."""

    def __init__(self) -> None:
        self.port = 0
        self.requests = 0
        self.peers: list[object] = []

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.peers.append(request.transport and request.transport.get_extra_info("peername"))
        match request.path:
            case "/redirect":
                raise web.HTTPFound(self.url("/file"))
            case "/missing":
                raise web.HTTPNotFound
            case "/slow":
                await asyncio.sleep(5)
            case "/gzip":
                body = gzip.compress(b"0" * 1_000_000)
                return web.Response(body=body, headers={"Content-Encoding": "gzip"})
            case "/endless":
                response = web.StreamResponse()
                await response.prepare(request)
                while not (request.transport is None or request.transport.is_closing()):
                    await response.write(b"0" * 10_000)
                return response
            case "/seen":
                return web.json_response({name.lower(): value for name, value in request.headers.items()})
        return web.Response(body=b"x" * 1000)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0.0.0.0", "0",  # noqa: S104
        "localhost", "LocalHost", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]",
        "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fec0::1]", "[fe80::1]", "[fd00::1]",
        "169.254.169.254", "100.64.0.1", "10.0.0.1", "192.168.1.1", "192.0.0.8", "224.0.0.1",
        "255.255.255.255",
        "good@127.0.0.1", "good:password@127.0.0.1", "127.0.0.1\\@good", "①②⑦.0.0.1", "%31%32%37.0.0.1",
        "127.0.0.1%00.example.com", "127.0.0.1\n.example.com",
    ],
)  # fmt: skip
async def test_no_spelling_of_an_inner_address_is_connected_to(server: Server, host: str) -> None:
    async with create_session() as session:
        with pytest.raises(OutgoingRequestError) as caught:
            await download(session, server.url("/file", host), max_bytes=2000, timeout_seconds=2)

        with pytest.raises(OutgoingRequestError) as caught_on_a_web_port:
            await download(session, f"http://{host}/", max_bytes=2000, timeout_seconds=2)

    refusals = {"address_blocked", "url_invalid"} | ({"connection_failed"} if "%" in host else set())
    assert caught.value.code in refusals
    assert caught_on_a_web_port.value.code in refusals
    assert server.requests == 0


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://example.com/", "//example.com/", "", "http://"],
)
async def test_only_web_addresses_are_fetched(url: str) -> None:
    async with create_session() as session:
        with pytest.raises(InvalidAddressError):
            await download(session, url, max_bytes=1, timeout_seconds=1)


async def test_a_public_address_on_a_database_port_is_refused() -> None:
    async with create_session() as session:
        with pytest.raises(BlockedAddressError):
            await download(session, "http://93.184.215.14:6379/", max_bytes=1, timeout_seconds=1)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("64:ff9b::808:808", True), ("::ffff:8.8.8.8", True),
        ("2002:808:808::", True), ("64:ff9b::a00:1", False), ("2002:a00:1::", False),
        ("2001:0:4136::", False),
        ("192.88.99.1", False), ("198.18.0.1", False), ("ff02::1", False), ("64:ff9b:1::1", False),
        ("fe80::1%eth0", False), ("not an address", False), ("", False),
    ],
)  # fmt: skip
def test_embedded_addresses_are_unwrapped(address: str, public: bool) -> None:
    assert is_public_address(address) is public


async def test_a_name_with_one_inner_address_among_public_ones_is_refused_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _answer_names_with(monkeypatch, ["93.184.215.14", "127.0.0.1"])

    async with create_session() as session:
        with pytest.raises(BlockedAddressError):
            await download(session, "http://mixed.example/", max_bytes=1, timeout_seconds=1)


async def test_a_name_that_turns_inward_after_its_first_answer_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with create_session(allowed_endpoints=frozenset({("127.0.0.2", server.port)})) as session:
        _answer_names_with(monkeypatch, ["127.0.0.2"])
        with pytest.raises(ConnectionFailedError):  # Permitted, but nobody listens there.
            await download(session, server.url("/file", "turning.example"), max_bytes=1, timeout_seconds=1)
        _answer_names_with(monkeypatch, ["127.0.0.1"])
        session.connector.clear_dns_cache()  # type: ignore[union-attr]
        with pytest.raises(BlockedAddressError):
            await download(session, server.url("/file", "turning.example"), max_bytes=1, timeout_seconds=1)

    assert server.requests == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_endpoint_allowed_literally_is_reached(server: Server, host: str) -> None:
    async with create_session(allowed_endpoints=frozenset({(host, server.port)})) as session:
        content = await download(session, server.url("/file", host), max_bytes=1000, timeout_seconds=2)

    assert content == b"x" * 1000


async def test_another_port_of_an_allowed_host_is_refused(server: Server) -> None:
    async with create_session(allowed_endpoints=frozenset({("127.0.0.1", server.port + 1)})) as session:
        with pytest.raises(BlockedAddressError):
            await download(session, server.url("/file"), max_bytes=1000, timeout_seconds=2)

    assert server.requests == 0


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/redirect", RedirectRefusedError),
        ("/missing", ReplyStatusError),
        ("/slow", DownloadTimeoutError),
        ("/gzip", ConnectionFailedError),
        ("/endless", ReplyTooLargeError),
    ],
)
async def test_what_is_not_a_plain_answer_is_an_error_of_its_own(
    server: Server, path: str, error: type[OutgoingRequestError]
) -> None:
    async with create_session(allowed_endpoints=frozenset({("127.0.0.1", server.port)})) as session:
        with pytest.raises(error):
            await download(session, server.url(path), max_bytes=100_000, timeout_seconds=0.5)

    assert server.requests == 1


async def test_questions_share_a_connection_and_an_order_never_takes_a_used_one(server: Server) -> None:
    async with create_session(allowed_endpoints=frozenset({("127.0.0.1", server.port)})) as session:
        for method in ("GET", "GET", "POST", "POST", "GET"):
            async with session.request(method, server.url("/file")) as response:
                await response.read()

    first, second, order, other_order, third = server.peers
    assert first == second == third
    assert len({first, order, other_order}) == 3


async def test_a_body_one_byte_over_its_cap_is_refused(server: Server) -> None:
    async with create_session(allowed_endpoints=frozenset({("127.0.0.1", server.port)})) as session:
        with pytest.raises(ReplyTooLargeError):
            await download(session, server.url("/file"), max_bytes=999, timeout_seconds=2)


async def test_the_environment_names_no_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url("/"))
    monkeypatch.setenv("http_proxy", server.url("/"))

    async with create_session() as session:
        with pytest.raises(ConnectionFailedError):
            await download(session, "http://name.invalid/", max_bytes=10, timeout_seconds=2)

    assert server.requests == 0


def _answer_names_with(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    def getaddrinfo(host: str, port: int, *args: object, **kwargs: object) -> list[object]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
