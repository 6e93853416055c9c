"""A relay before a provider's server that can hold the answer to a call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.faults.passing import CHUNK_BYTES, Line, Passage, Ways


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


class Relay(Passage[CallCatch]):
    """Passes on everything between callers and one provider's server."""

    def pass_on(self, line: Line) -> Ways:
        """Return what passes on calls and what passes on answers."""
        may_answer = asyncio.Event()
        may_answer.set()
        return self._pass_calls(line, may_answer), _pass_answers(line, may_answer)

    def hang_up(self, writer: asyncio.StreamWriter) -> None:
        """End it after what has been said: an answer is whole although its server has hung up."""
        writer.close()

    async def _pass_calls(self, line: Line, may_answer: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while content := await line.reader.read(CHUNK_BYTES):
                catch = self.take_catch(line.port) if content.startswith(b"POST ") else None
                if catch is not None:
                    may_answer.clear()
                line.server_writer.write(content)
                await line.server_writer.drain()
                if catch is not None:
                    await catch.meet(line.port)
                    may_answer.set()


async def _pass_answers(line: Line, may_answer: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while content := await line.server_reader.read(CHUNK_BYTES):
            await may_answer.wait()
            line.writer.write(content)
            await line.writer.drain()
