"""A PostgreSQL proxy that can hold a statement or its answer, or lose an answer on its way back."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from tests.faults.wire import Said, Transcript

CHUNK_BYTES: Final = 65_536


@dataclass(eq=False, slots=True)
class Catch:
    """Waits for one statement of any client, once.

    Args:
        statement: What the statement has to look like.
        in_transaction: What an earlier one of its transaction has to look like; empty for anything.
        unless: What no earlier one of its transaction may look like; empty for nothing.
        meet: Awaited with the client's port and what forwards the statement, which it must await.
        loses_answer: The server gets the statement; its answer is thrown away and the connection cut.
        wants: Whether this client, given by its port, is meant.
    """

    statement: str
    in_transaction: str = ""
    unless: str = ""
    meet: Callable[[int, Callable[[], Awaitable[None]]], Awaitable[None]] | None = None
    loses_answer: bool = False
    wants: Callable[[int], bool] = lambda _: True
    has_met: bool = field(default=False, init=False)

    def fits(self, said: Said) -> bool:
        """Whether this is the statement waited for."""
        if not re.match(self.statement, said.statement.strip(), re.DOTALL):
            return False
        if self.in_transaction and not any(
            re.search(self.in_transaction, each, re.DOTALL) for each in said.earlier
        ):
            return False
        return not (self.unless and any(re.search(self.unless, each, re.DOTALL) for each in said.earlier))


class PostgresProxy:
    """Passes on everything between clients and one server, except what a catch waits for."""

    def __init__(self, server_port: int, *, server_host: str = "127.0.0.1") -> None:
        self._server = (server_host, server_port)
        self._listener: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self.catches: list[Catch] = []
        self.port = 0

    async def start(self) -> None:
        """Listen; `port` is known when this returns."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=256)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut all connections."""
        if self._listener is not None:
            self._listener.close()
        for client in list(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._clients.add(task)
            task.add_done_callback(self._clients.discard)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._server)
        except OSError:
            writer.transport.abort()
            return
        session = _Session(self, reader, writer, server_reader, server_writer)
        try:
            await session.run()
        except asyncio.CancelledError:
            return
        finally:
            writer.transport.abort()
            server_writer.transport.abort()


class _Session:
    def __init__(
        self,
        proxy: PostgresProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._server_reader, self._server_writer = server_reader, server_writer
        self._port: int = writer.get_extra_info("peername")[1]
        self._transcript = Transcript()
        self._loses_answer = False

    async def run(self) -> None:
        """Pass on both ways until either side ends."""
        ways = [asyncio.create_task(self._pass_statements()), asyncio.create_task(self._pass_answers())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_statements(self) -> None:
        with contextlib.suppress(OSError):
            while content := await self._reader.read(CHUNK_BYTES):
                for said in self._transcript.feed(content):
                    await self._pass_statement(said)
                await self._server_writer.drain()

    async def _pass_statement(self, said: Said) -> None:
        catch = self._find_catch(said)
        if catch is None:
            self._server_writer.write(said.raw)
            return

        async def forward() -> None:
            self._loses_answer = catch.loses_answer
            self._server_writer.write(said.raw)
            await self._server_writer.drain()

        if catch.meet is None:
            await forward()
        else:
            await catch.meet(self._port, forward)

    def _find_catch(self, said: Said) -> Catch | None:
        if not said.statement:
            return None
        for catch in self._proxy.catches:
            if catch.fits(said) and catch.wants(self._port):
                self._proxy.catches.remove(catch)
                catch.has_met = True
                return catch
        return None

    async def _pass_answers(self) -> None:
        with contextlib.suppress(OSError):
            while content := await self._server_reader.read(CHUNK_BYTES):
                if self._loses_answer:
                    return
                self._writer.write(content)
                await self._writer.drain()
