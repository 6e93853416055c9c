"""Gather the transitions of many concurrent calls into few transactions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Self

from asgiref.sync import sync_to_async
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from generations.engine.transitions import Transition, apply_all

logger = logging.getLogger(__name__)
MAX_BATCH = 100
RETRY_SECONDS = (0.2, 1.0, 3.0)


class TransitionWriter:
    """Writes transitions in the order they come; while one batch is written the next one gathers.

    Use it as an asynchronous context manager; leaving it writes what is left.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[Transition, asyncio.Future[bool]] | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._queue.put(None)
        if self._task is not None:
            await self._task

    async def write(self, transition: Transition) -> bool:
        """Return, once it is committed, whether the transition was still wanted.

        Raises:
            DatabaseError: It could not be written; the lease will lapse and the work be taken up again.
        """
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await self._queue.put((transition, written))
        return await asyncio.shield(written)

    async def _run(self) -> None:
        while (first := await self._queue.get()) is not None:
            batch, ended = [first], False
            while len(batch) < MAX_BATCH and not self._queue.empty():
                following = self._queue.get_nowait()
                if following is None:
                    ended = True
                    break
                batch.append(following)
            await self._write_batch(batch)
            if ended:
                return

    async def _write_batch(self, batch: Sequence[tuple[Transition, asyncio.Future[bool]]]) -> None:
        try:
            results = await self._apply([transition for transition, _ in batch])
        except DatabaseError as error:
            if len(batch) > 1:  # One that cannot be written must not hold up the others.
                for pair in batch:
                    await self._write_batch([pair])
                return
            logger.exception("a transition was not written: %s", type(batch[0][0]).__name__)
            if not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for (_, written), result in zip(batch, results, strict=True):
            if not written.done():
                written.set_result(result)

    async def _apply(self, transitions: Sequence[Transition]) -> list[bool]:
        for pause in RETRY_SECONDS:
            try:
                return await sync_to_async(apply_all)(transitions)
            except (OperationalError, InterfaceError):
                logger.warning("the database did not take a batch; trying again in %s s", pause)
                await sync_to_async(connection.close_if_unusable_or_obsolete)()
                await asyncio.sleep(pause)
        return await sync_to_async(apply_all)(transitions)
