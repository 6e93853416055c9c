"""A relay before a provider's server that can hold the answer to a call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

CHUNK_BYTES: Final = 65_536


@dataclass(eq=False, slots=True)
class CallCatch:
    """Waits for one call that may cost money (a POST), once; the server gets it at once.

    Args:
        meet: Awaited with the caller's port, while the answer is held.
        wants: Whether this caller, given by its port, is meant.
    """

    meet: Callable[[int], Awaitable[None]]
    wants: Callable[[int], bool] = lambda _: True
    has_met: bool = field(default=False, init=False)


class Relay:
    """Passes on everything between callers and one server on the loopback address."""

    def __init__(self) -> None:
        self.server_port = 0
        self.port = 0
        self.catches: list[CallCatch] = []
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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._callers.add(task)
            task.add_done_callback(self._callers.discard)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:
            writer.transport.abort()
            return
        try:
            await self._pass_both_ways(reader, writer, server_reader, server_writer)
        except asyncio.CancelledError:
            return
        finally:
            writer.close()
            server_writer.close()

    async def _pass_both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        may_answer = asyncio.Event()
        may_answer.set()
        port: int = writer.get_extra_info("peername")[1]
        ways = [
            asyncio.create_task(self._pass_calls(reader, server_writer, port, may_answer)),
            asyncio.create_task(_pass_answers(server_reader, writer, may_answer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_calls(
        self,
        reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
        port: int,
        may_answer: asyncio.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(CHUNK_BYTES):
                catch = self._find_catch(port) if content.startswith(b"POST ") else None
                if catch is not None:
                    may_answer.clear()
                server_writer.write(content)
                await server_writer.drain()
                if catch is not None:
                    await catch.meet(port)
                    may_answer.set()

    def _find_catch(self, port: int) -> CallCatch | None:
        for catch in self.catches:
            if catch.wants(port):
                self.catches.remove(catch)
                catch.has_met = True
                return catch
        return None


async def _pass_answers(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_answer: asyncio.Event
) -> None:
    with contextlib.suppress(OSError):
        while content := await reader.read(CHUNK_BYTES):
            await may_answer.wait()
            writer.write(content)
            await writer.drain()
