"""Check and store outputs, and make their copies, in threads; the event loop only waits.

Images of calls that have just answered come before copies, so that generations complete first.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self, TypeVar

from generations.choices import ErrorCode
from generations.image_files import StoredCopies, StoredFiles, discard, store_copies, store_file
from generations.media.errors import MediaError
from generations.providers.base import ERROR_FACTS, ProviderOutput
from generations.providers.base import ErrorCode as ProviderErrorCode

FIRST: Final = 0
LATER: Final = 1
ResultT = TypeVar("ResultT")
_Job = tuple[int, int, Callable[[], Any], "asyncio.Future[Any]"]


class StoringError(Exception):
    """None of the outputs could be kept."""

    def __init__(self, *, code: str, sentence: str, detail: str) -> None:
        self.code = code
        self.sentence = sentence
        self.detail = detail
        super().__init__(sentence)


class ImageWorkshop:
    """As many threads as there are processors; more would only hold more pictures in memory.

    Use it as an asynchronous context manager; leaving it drops what has not been begun.
    """

    def __init__(self) -> None:
        self._n_threads = os.cpu_count() or 2
        self._pool = ThreadPoolExecutor(self._n_threads, thread_name_prefix="images")
        self._jobs: asyncio.PriorityQueue[_Job] = asyncio.PriorityQueue()
        self._order = itertools.count()
        self._benches: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._benches = [asyncio.create_task(self._run()) for _ in range(self._n_threads)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for bench in self._benches:
            bench.cancel()
        await asyncio.gather(*self._benches, return_exceptions=True)
        self._pool.shutdown(wait=True)

    async def store_outputs(self, outputs: Sequence[ProviderOutput]) -> tuple[list[StoredFiles], str]:
        """Return the stored outputs in their order, and a warning when some could not be used.

        Raises:
            StoringError: None could be used (`bad_output`), or the storage refused, so that images which
                were made are lost (`outcome_unknown`).
        """
        tasks = [self._ask(FIRST, _storing(output.content)) for output in outputs]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        stored = [result for result in results if isinstance(result, StoredFiles)]
        failures = [result for result in results if isinstance(result, BaseException)]
        refusals = [error for error in failures if not isinstance(error, MediaError)]
        if refusals:
            await asyncio.to_thread(discard, stored)
            raise StoringError(
                code=ErrorCode.OUTCOME_UNKNOWN,
                sentence="The image was made, but could not be stored here.",
                detail=type(refusals[0]).__name__,
            ) from refusals[0]
        if not stored:
            raise StoringError(
                code=ErrorCode.BAD_OUTPUT,
                sentence=ERROR_FACTS[ProviderErrorCode.BAD_OUTPUT].sentence,
                detail="; ".join(str(failure) for failure in failures)[:500],
            )
        if not failures:
            return stored, ""
        return stored, f"{len(failures)} of {len(outputs)} outputs could not be used: {failures[0]}"

    async def make_copies(self, name: str) -> StoredCopies:
        """Return the stored copies of a stored image, made when nothing more urgent waits.

        Raises:
            MediaError: The stored bytes are damaged.
            OSError: The storage refused.
        """
        return await self._ask(LATER, lambda: store_copies(name))

    async def _ask(self, urgency: int, job: Callable[[], ResultT]) -> ResultT:
        done: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        await self._jobs.put((urgency, next(self._order), job, done))
        return await done

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            _, _, job, done = await self._jobs.get()
            if done.cancelled():
                continue
            try:
                result = await loop.run_in_executor(self._pool, job)
            except Exception as error:  # noqa: BLE001 - handed to whoever asked
                if not done.cancelled():
                    done.set_exception(error)
            else:
                if not done.cancelled():
                    done.set_result(result)


def _storing(content: bytes) -> Callable[[], StoredFiles]:
    return lambda: store_file(content, folder="outputs")
