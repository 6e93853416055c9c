"""Check and store outputs, and make their copies, in threads; the event loop only waits."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

from generations.choices import ErrorCode
from generations.image_files import StoredCopies, StoredFiles, discard, store_copies, store_file
from generations.media.errors import MediaError
from generations.providers.base import ERROR_FACTS, ProviderOutput
from generations.providers.base import ErrorCode as ProviderErrorCode

COPYING_NICENESS: Final = 10


class StoringError(Exception):
    """None of the outputs could be kept."""

    def __init__(self, *, code: str, sentence: str, detail: str) -> None:
        self.code = code
        self.sentence = sentence
        self.detail = detail
        super().__init__(sentence)


class ImageWorkshop:
    """Threads for the work on pictures: some that store what has just come, some that make copies.

    Each thread holds pictures in memory, so there are no more than processors, and one less for copies, which
    the kernel lets wait for everything else. Use it as a context manager; leaving it waits for what began.
    """

    def __init__(self) -> None:
        n_threads = os.cpu_count() or 2
        self._storing = ThreadPoolExecutor(n_threads, thread_name_prefix="storing")
        self._copying = ThreadPoolExecutor(
            max(1, n_threads - 1), thread_name_prefix="copying", initializer=_yield_to_others
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._storing, self._copying):
            pool.shutdown(wait=True, cancel_futures=True)

    async def store_outputs(self, outputs: Sequence[ProviderOutput]) -> tuple[list[StoredFiles], str]:
        """Return the stored outputs in their order, and a warning when some could not be used.

        Raises:
            StoringError: None could be used (`bad_output`), or the storage refused, so that images which
                were made are lost (`outcome_unknown`).
        """
        loop = asyncio.get_running_loop()
        tasks = [loop.run_in_executor(self._storing, _store, output.content) for output in outputs]
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
        """Return the stored copies of a stored image, made when nothing else wants the processor.

        Raises:
            MediaError: The stored bytes are damaged.
            OSError: The storage refused.
        """
        return await asyncio.get_running_loop().run_in_executor(self._copying, store_copies, name)


def _store(content: bytes) -> StoredFiles:
    return store_file(content, folder="outputs")


def _yield_to_others() -> None:
    """Lower this thread's priority: on Linux niceness belongs to threads (setpriority(2), Notes)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), COPYING_NICENESS)
