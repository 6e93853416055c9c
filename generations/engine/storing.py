"""Check and store the outputs of a call, in threads; the event loop only waits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from generations.choices import ErrorCode
from generations.image_files import StoredFiles, discard, store_image
from generations.media.errors import MediaError
from generations.providers.base import ERROR_FACTS, ProviderOutput
from generations.providers.base import ErrorCode as ProviderErrorCode

# Decoding is work for the processor: more threads than cores only hold more pictures in memory.
_POOL: Final = ThreadPoolExecutor(max_workers=os.cpu_count() or 2, thread_name_prefix="images")


class StoringError(Exception):
    """None of the outputs could be kept."""

    def __init__(self, *, code: str, sentence: str, detail: str) -> None:
        self.code = code
        self.sentence = sentence
        self.detail = detail
        super().__init__(sentence)


async def store_outputs(outputs: Sequence[ProviderOutput]) -> tuple[list[StoredFiles], str]:
    """Return the stored outputs in their order, and a warning when some could not be used.

    Raises:
        StoringError: None could be used (`bad_output`), or the storage refused (`provider_unavailable`
            is not it: the images are lost and the outcome is named `outcome_unknown`).
    """
    loop = asyncio.get_running_loop()
    tasks = [loop.run_in_executor(_POOL, _store, output.content) for output in outputs]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    stored = [result for result in results if isinstance(result, StoredFiles)]
    failures = [result for result in results if isinstance(result, BaseException)]
    storage_errors = [error for error in failures if not isinstance(error, MediaError)]
    if storage_errors:
        await asyncio.to_thread(discard, stored)
        raise StoringError(
            code=ErrorCode.OUTCOME_UNKNOWN,
            sentence="The image was made, but could not be stored here.",
            detail=type(storage_errors[0]).__name__,
        ) from storage_errors[0]
    if not stored:
        raise StoringError(
            code=ErrorCode.BAD_OUTPUT,
            sentence=ERROR_FACTS[ProviderErrorCode.BAD_OUTPUT].sentence,
            detail="; ".join(str(failure) for failure in failures)[:500],
        )
    if not failures:
        return stored, ""
    return stored, f"{len(failures)} of {len(outputs)} outputs could not be used: {failures[0]}"


def _store(content: bytes) -> StoredFiles:
    return store_image(content, folder="outputs")
