"""What stands before a server of the installation and passes everything on, but for what is to be caught."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

CHUNK_BYTES: Final = 65_536

# There and back.
Ways: TypeAlias = tuple[Coroutine[None, None, None], Coroutine[None, None, None]]


class Catching(Protocol):
    """What is waited for, once."""

    has_met: bool

    @property
    def wants(self) -> Callable[[int], bool]:
        """Whether this caller, given by its port, is meant."""


C = TypeVar("C", bound=Catching)


@dataclass(frozen=True, slots=True)
class Line:
    """A caller's connection, and the one with the server that was made for it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server_reader: asyncio.StreamReader
    server_writer: asyncio.StreamWriter

    @property
    def port(self) -> int:
        """The caller's port."""
        port: int = self.writer.get_extra_info("peername")[1]
        return port


class Passage(ABC, Generic[C]):
    """Passes on everything between callers on the loopback address and one server."""

    def __init__(self, server_port: int = 0, *, server_host: str = "127.0.0.1") -> None:
        self.server_host = server_host
        self.server_port = server_port
        self.port = 0
        self.catches: list[C] = []
        self._listener: asyncio.Server | None = None
        self._callers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; `port` is known when this returns. `server_port` may be told later."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut all connections."""
        if self._listener is not None:
            self._listener.close()
        for caller in list(self._callers):
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)

    def take_catch(self, port: int, fits: Callable[[C], bool] = lambda _: True) -> C | None:
        """Return the first catch that fits and wants this caller; nobody else meets it."""
        for catch in self.catches:
            if fits(catch) and catch.wants(port):
                self.catches.remove(catch)
                catch.has_met = True
                return catch
        return None

    @abstractmethod
    def pass_on(self, line: Line) -> Ways:
        """Return what passes on the caller's words and what passes on the server's."""

    @abstractmethod
    def hang_up(self, writer: asyncio.StreamWriter) -> None:
        """End one side of a line whose other side has ended."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._callers.add(task)
            task.add_done_callback(self._callers.discard)
        try:
            server = await asyncio.open_connection(self.server_host, self.server_port)
        except OSError:
            writer.transport.abort()
            return
        line = Line(reader, writer, *server)
        try:
            await self._pass_both_ways(line)
        except asyncio.CancelledError:
            return
        finally:
            self.hang_up(line.writer)
            self.hang_up(line.server_writer)

    async def _pass_both_ways(self, line: Line) -> None:
        ways = [asyncio.create_task(way) for way in self.pass_on(line)]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
