"""A PostgreSQL proxy that can hold a statement or its answer, or lose an answer on its way back."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.faults.passing import CHUNK_BYTES, Line, Passage, Ways
from tests.faults.wire import Said, Transcript


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


class PostgresProxy(Passage[Catch]):
    """Passes on everything between clients and one server, except what a catch waits for."""

    def pass_on(self, line: Line) -> Ways:
        """Return what passes on statements and what passes on answers."""
        session = _Session(self, line)
        return session.pass_statements(), session.pass_answers()

    def hang_up(self, writer: asyncio.StreamWriter) -> None:
        """Cut it, as a network that fails does."""
        writer.transport.abort()


class _Session:
    def __init__(self, proxy: PostgresProxy, line: Line) -> None:
        self._proxy = proxy
        self._line = line
        self._port = line.port
        self._transcript = Transcript()
        self._loses_answer = False

    async def pass_statements(self) -> None:
        """Pass on what the client says, until it ends."""
        with contextlib.suppress(OSError):
            while content := await self._line.reader.read(CHUNK_BYTES):
                for said in self._transcript.feed(content):
                    await self._pass_statement(said)
                await self._line.server_writer.drain()

    async def _pass_statement(self, said: Said) -> None:
        catch = self._proxy.take_catch(self._port, lambda each: each.fits(said)) if said.statement else None
        if catch is None:
            self._line.server_writer.write(said.raw)
            return

        async def forward() -> None:
            self._loses_answer = catch.loses_answer
            self._line.server_writer.write(said.raw)
            await self._line.server_writer.drain()

        if catch.meet is None:
            await forward()
        else:
            await catch.meet(self._port, forward)

    async def pass_answers(self) -> None:
        """Pass on what the server says, until it ends or an answer is to be lost."""
        with contextlib.suppress(OSError):
            while content := await self._line.server_reader.read(CHUNK_BYTES):
                if self._loses_answer:
                    return
                self._line.writer.write(content)
                await self._line.writer.drain()
