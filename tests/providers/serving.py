"""What the protocol servers share: their counters, their picture, their dice for faults, and how they run."""

from __future__ import annotations

import asyncio
import io
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from random import Random
from typing import Any, ClassVar, Final, TypeVar

from aiohttp import web
from PIL import Image

from tests.providers.ledger import Ledger

PRICE_USD: Final = Decimal("0.04")
COUNTERS: Final = ("n_requests", "n_completed", "n_downloads", "n_in_flight", "max_in_flight")
# Each is a share of what it can meet. `hang` and `dropped` are taken, and charged, before nothing comes back.
FAULT_RATES: Final = (
    "rate_limited",
    "server_error",
    "hang",
    "dropped",
    "truncated",
    "wrong_type",
    "duplicate_webhooks",
)


class Dice:
    """Decides who meets which fault: the same for the same seed, in whatever order the questions come.

    Args:
        rates: The share of each fault, from 0 to 1; faults thrown together exclude each other.
    """

    def __init__(self, rates: Mapping[str, float] | None = None, *, seed: int = 0) -> None:
        self._rates = {fault: rate for fault, rate in (rates or {}).items() if rate}
        self._seed = seed
        self._n_thrown: Counter[tuple[str, ...]] = Counter()

    def throw(self, key: str, *faults: str) -> str:
        """Return one of these faults or an empty text: always the same one at the n-th throw for a key."""
        if not any(fault in self._rates for fault in faults):
            return ""
        self._n_thrown[key, *faults] += 1
        number = Random(f"{self._seed} {faults} {self._n_thrown[key, *faults]} {key}").random()
        for fault in faults:
            number -= self._rates.get(fault, 0.0)
            if number < 0:
                return fault
        return ""


class ProtocolServer:
    """What each server counts and sends.

    Args:
        picture: The bytes of every picture; a small PNG when missing.
        ledger: Where it writes what it was asked and would charge.
        price_usd: What each picture costs.
    """

    name: ClassVar[str]
    fault_names: ClassVar[Sequence[str]] = ()
    behaviour: Any  # A dataclass of the server's own, with at least `delay_seconds` and `fault`.

    def __init__(
        self,
        *,
        api_key: str,
        picture: bytes | None = None,
        ledger: Ledger | None = None,
        dice: Dice | None = None,
        price_usd: Decimal = PRICE_USD,
    ) -> None:
        self.api_key = api_key
        self.picture = picture or make_png()
        self.ledger = ledger or Ledger()
        self.dice = dice or Dice()
        self.price_usd = price_usd
        self.n_requests = self.n_completed = self.n_downloads = 0
        self.n_in_flight = self.max_in_flight = 0
        self.port = 0
        self.keep_requests = True

    @property
    def url(self) -> str:
        """The address without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What a model's entry names as its address."""
        return self.url

    @property
    def options(self) -> Mapping[str, str]:
        """What a model's entry has as its options."""
        return {}

    def application(self) -> web.Application:
        """The server's routes."""
        raise NotImplementedError

    def enter(self) -> None:
        """Count a call or job as running."""
        self.n_in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.n_in_flight)

    def leave(self) -> None:
        """Count it as ended."""
        self.n_in_flight -= 1

    def file_reply(self, fault: str = "") -> web.Response:
        """Return the picture as a file, or what a `truncated` or `wrong_type` one looks like."""
        self.n_downloads += 1
        if fault == "wrong_type":
            return web.Response(text="<html>This is no picture.</html>", content_type="text/html")
        content = self.picture[: len(self.picture) // 2] if fault == "truncated" else self.picture
        return web.Response(body=content, content_type="image/png")

    async def counters(self, request: web.Request) -> web.Response:
        """Return the counters as JSON, for those who run it as a process."""
        return web.json_response({name: getattr(self, name) for name in COUNTERS})


async def hang() -> web.Response:
    """Answer nothing; cancelled when the client goes away or the server stops."""
    await asyncio.sleep(3600)
    return web.Response()


def drop(request: web.Request) -> web.Response:
    """Cut the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def make_png(n_bytes: int = 0, *, side_px: int = 512) -> bytes:
    """Return a PNG as close below this many bytes as whole rows of noise allow; 0 for the smallest."""
    picture = _png_with_noise(side_px, 0)
    low, high = 0, side_px
    while low < high and len(picture) < n_bytes:
        middle = (low + high + 1) // 2
        candidate = _png_with_noise(side_px, middle)
        if len(candidate) <= n_bytes:
            picture, low = candidate, middle
        else:
            high = middle - 1
    return picture


def _png_with_noise(side_px: int, noisy_rows: int) -> bytes:
    image = Image.linear_gradient("L").resize((side_px, side_px)).convert("RGB")
    if noisy_rows:
        noise = Random(1).randbytes(side_px * noisy_rows * 3)
        image.paste(Image.frombytes("RGB", (side_px, noisy_rows), noise), (0, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


async def serve(server: ProtocolServer, port: int) -> web.AppRunner:
    """Start the server in the running loop; `server.port` is known when this returns."""
    runner = web.AppRunner(
        server.application(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    server.port = runner.addresses[0][1]
    return runner


AnyServer = TypeVar("AnyServer", bound=ProtocolServer)


@contextmanager
def running(server: AnyServer, *, port: int = 0) -> Iterator[AnyServer]:
    """Run the server in a thread of its own, for callers that block or have their own event loop."""
    loop = asyncio.new_event_loop()
    runner = loop.run_until_complete(serve(server, port))
    thread = threading.Thread(target=loop.run_forever, name=f"{server.name}-protocol-server", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()
