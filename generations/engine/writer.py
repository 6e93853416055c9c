"""Gather the transitions of many concurrent calls into few transactions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from asgiref.sync import sync_to_async
from django.db import DatabaseError, InterfaceError, OperationalError

from generations.engine.connecting import renew_connection
from generations.engine.transitions import Completed, Prepared, Transition, apply_all

logger = logging.getLogger(__name__)
MAX_BATCH = 250
_URGENCY: Final = {Completed: 1, Prepared: 2}
# As long as leases that were beaten lately last: a database that is started again is waited for.
RETRY_SECONDS: Final = (0.2, 1.0, 3.0, 5.0, 10.0)
GATHER_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A transition that is to be written, and whom to tell."""

    transition: Transition
    written: asyncio.Future[bool]
    since: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    @property
    def urgency(self) -> int:
        """How soon it is to be written, by what it is; 0 is soonest."""
        return _URGENCY.get(type(self.transition), 0)


class TransitionWriter:
    """Writes transitions in batches; while one batch is written the next one gathers.

    What calls and free places wait for goes first, then what completes generations, then copies. All but the
    first wait a moment for more of their kind: a batch costs little more than one. None waits long because
    more urgent ones come again and again. Use it as an asynchronous context manager; leaving it writes what
    is left.
    """

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._is_ending = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_ending = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def write(self, transition: Transition) -> bool:
        """Return, once it is committed, whether the transition was still wanted.

        Raises:
            DatabaseError: It could not be written; the lease will lapse and the work be taken up again.
        """
        waiting = _Waiting(transition, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake.set()
        if waiting.urgency == 0:
            self._urgent.set()
        return await asyncio.shield(waiting.written)

    async def _run(self) -> None:
        while self._waiting or not self._is_ending:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._gather()
            await self._write_batch(self._take_batch())

    async def _gather(self) -> None:
        self._urgent.clear()
        if self._is_ending or any(waiting.urgency == 0 for waiting in self._waiting):
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._urgent.wait(), timeout=GATHER_SECONDS)

    def _take_batch(self) -> list[_Waiting]:
        """Take those whose turn it is: the most urgent of those that wait too long, or else of all."""
        long_ago = asyncio.get_running_loop().time() - PATIENCE_SECONDS
        first = min(self._waiting, key=lambda waiting: (waiting.since > long_ago, waiting.urgency)).urgency
        batch = [waiting for waiting in self._waiting if waiting.urgency == first][:MAX_BATCH]
        taken = set(batch)
        self._waiting = [waiting for waiting in self._waiting if waiting not in taken]
        return batch

    async def _write_batch(self, batch: Sequence[_Waiting]) -> None:
        try:
            results = await self._apply([waiting.transition for waiting in batch])
        except DatabaseError as error:
            is_away = isinstance(error, OperationalError | InterfaceError)
            if len(batch) > 1 and not is_away:  # One that cannot be written must not hold up the others.
                for waiting in batch:
                    await self._write_batch([waiting])
                return
            names = sorted({type(waiting.transition).__name__ for waiting in batch})
            logger.exception("%d transitions were not written: %s", len(batch), ", ".join(names))
            for waiting in batch:
                if not waiting.written.done():
                    waiting.written.set_exception(error)
            return
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.written.done():
                waiting.written.set_result(result)

    async def _apply(self, transitions: Sequence[Transition]) -> list[bool]:
        for pause in RETRY_SECONDS:
            try:
                return await sync_to_async(apply_all)(transitions)
            except (OperationalError, InterfaceError):
                logger.warning("the database did not take a batch; trying again in %s s", pause)
                await renew_connection()
                await asyncio.sleep(pause)
        return await sync_to_async(apply_all)(transitions)
