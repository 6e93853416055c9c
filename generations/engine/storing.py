"""Check and store outputs, and make their copies, in threads; the event loop only waits."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Self

from PIL import Image

from generations.choices import ErrorCode
from generations.engine.clock import read_clock
from generations.image_files import (
    StoredCopies,
    StoredFiles,
    discard,
    get_limits,
    load_stored,
    save_copies,
    store_file,
)
from generations.media.containers import Content
from generations.media.derivatives import Derivatives, make_derivatives
from generations.media.errors import MediaError
from generations.media.validation import CheckedImage, DecodedImage, check_image, decode_image
from generations.providers.base import ERROR_FACTS, ProviderOutput
from generations.providers.base import ErrorCode as ProviderErrorCode

logger = logging.getLogger(__name__)
REFUSED_PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Between tries to store what the storage refused: it is paid for, and waits in the spool meanwhile."""
COPYING_NICENESS: Final = 10
PRESSURE_SECONDS: Final = 0.25
LONGEST_WAIT_SECONDS: Final = 5.0
"""Copies wait for what is more urgent, which comes in bursts; after that they are made beside it."""
USUAL_PIXELS: Final = 1024 * 1024
MAX_PIXELS_AT_HAND: Final = 4 * USUAL_PIXELS
"""How much of decoded pictures waits in memory for copies to be made: 16 MB at four bytes for each pixel."""
MAX_PICTURES_AT_HAND: Final = 64
"""How many: small ones are soon decoded again, and sooner than hundreds are counted."""


class StoringError(Exception):
    """None of the outputs could be kept; `is_refusal` when it was the storage that did not take them."""

    def __init__(self, *, code: str, sentence: str, detail: str, is_refusal: bool = False) -> None:
        self.code = code
        self.is_refusal = is_refusal
        self.sentence = sentence
        self.detail = detail
        super().__init__(sentence)


@dataclass(eq=False, slots=True, weakref_slot=True)
class Picture:
    """Room in memory for a decoded picture, which is there once `image` is set."""

    image: Image.Image | None = field(default=None, repr=False)

    @property
    def n_pixels(self) -> int:
        """Return how much room it takes; of one that is still being decoded, how much most take."""
        return self.image.width * self.image.height if self.image is not None else USUAL_PIXELS


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """An output in storage, with its decoded picture if that is at hand for making the copies."""

    files: StoredFiles
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class _Copying:
    """The copies that are wanted of one output."""

    name: str
    picture: Picture | None
    copies: Future[StoredCopies] = field(default_factory=Future)


class ImageWorkshop:
    """Threads for the work on pictures: some that store what has just come, some that make copies.

    A picture is decoded once. While there is room, that is when it is checked, and it is handed over for its
    copies to be made. When many come at once a PNG is checked without decoding it, so that all are stored
    soon, and it is decoded for its copies.

    No more pictures are decoded at once than there are processors; one less for copies, which wait while
    there is anything to store or calls are made (though not for long), and which the kernel lets wait for
    everything else.
    Use it as a context manager; leaving it waits for what began.
    """

    def __init__(self) -> None:
        n_threads = os.cpu_count() or 2
        # Twice as many, since half of them wait for the disk.
        self._storing = ThreadPoolExecutor(2 * n_threads, thread_name_prefix="storing")
        self._decoding = threading.BoundedSemaphore(n_threads)
        self._n_storing = 0
        self._pressed_until = 0.0
        self._busy_since = 0.0
        self._idle = threading.Event()
        self._idle.set()
        self._copying = ThreadPoolExecutor(
            max(1, n_threads - 1), thread_name_prefix="copying", initializer=_yield_to_others
        )
        self._at_hand: deque[_Copying] = deque()
        self._put_off: deque[_Copying] = deque()
        self._room = threading.RLock()
        # Those that somebody still refers to, so that one that is given up takes no room.
        self._pictures: weakref.WeakSet[Picture] = weakref.WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._copying, self._storing):
            pool.shutdown(wait=True, cancel_futures=True)

    async def store_outputs(self, outputs: Sequence[ProviderOutput]) -> tuple[list[StoredOutput], str]:
        """Return the stored outputs in their order, and a warning when some could not be used.

        A storage that refuses is tried again for half a minute.

        Raises:
            StoringError: None could be used (`bad_output`), or the storage refused, so that images which
                were made are lost (`outcome_unknown`).
        """
        for pause in REFUSED_PAUSES_SECONDS:
            try:
                return await self._store_all(outputs)
            except StoringError as error:
                if not error.is_refusal:
                    raise
                logger.warning("the storage refused (%s); trying again in %s s", error.detail, pause)
            await asyncio.sleep(pause)
        return await self._store_all(outputs)

    def hold_copies(self) -> None:
        """Let copies wait a moment: Pillow would keep other threads from what cannot wait.

        What is stored at short intervals holds them too, or each pause would be filled with copies.
        """
        self._note_pressure()
        self._pressed_until = read_clock() + PRESSURE_SECONDS

    def _note_pressure(self) -> None:
        now = read_clock()
        if not self._n_storing and now > self._pressed_until:
            self._busy_since = now

    async def _store_all(self, outputs: Sequence[ProviderOutput]) -> tuple[list[StoredOutput], str]:
        loop = asyncio.get_running_loop()
        self._note_pressure()
        self._idle.clear()
        self._n_storing += 1
        try:
            tasks = [loop.run_in_executor(self._storing, self._store, output) for output in outputs]
            results = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._n_storing -= 1
            self.hold_copies()
            if not self._n_storing:
                self._idle.set()
        stored = [result for result in results if isinstance(result, StoredOutput)]
        failures = [result for result in results if isinstance(result, BaseException)]
        refusals = [error for error in failures if not isinstance(error, MediaError)]
        if refusals:
            await asyncio.to_thread(discard, [output.files for output in stored])
            raise StoringError(
                code=ErrorCode.OUTCOME_UNKNOWN,
                sentence="The image was made, but could not be stored here.",
                detail=type(refusals[0]).__name__,
                is_refusal=True,
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

    async def make_copies(self, output: StoredOutput) -> StoredCopies:
        """Return the stored copies of a stored output, made when nothing else wants the processor.

        Raises:
            MediaError: The stored bytes are damaged.
            OSError: The storage refused.
        """
        copying = _Copying(output.files.file, output.picture)
        (self._put_off if output.picture is None else self._at_hand).append(copying)
        self._copying.submit(self._copy_next)
        return await asyncio.wrap_future(copying.copies)

    def _store(self, output: ProviderOutput) -> StoredOutput:
        content = output.body.read()
        with self._decoding:
            checked, picture = self._check(content)
        return StoredOutput(store_file(checked, folder="outputs"), picture)

    def _check(self, content: Content) -> tuple[CheckedImage, Picture | None]:
        picture = self._make_room()
        checked = (
            check_image(content, get_limits()) if picture is None else decode_image(content, get_limits())
        )
        if not isinstance(checked, DecodedImage):
            return checked, None
        if picture is not None:
            picture.image = checked.image
            if self._count_pixels() > MAX_PIXELS_AT_HAND:
                picture = None
        return checked.without_pixels(), picture

    def _make_room(self) -> Picture | None:
        with self._room:
            if len(self._pictures) >= MAX_PICTURES_AT_HAND:
                return None
            if self._count_pixels() + USUAL_PIXELS > MAX_PIXELS_AT_HAND:
                return None
            picture = Picture()
            self._pictures.add(picture)
            return picture

    def _count_pixels(self) -> int:
        with self._room:
            return sum(picture.n_pixels for picture in self._pictures)

    def _copy_next(self) -> None:
        """Make the copies of one output; those go first whose pictures take room."""
        self._wait_until_calm()
        with self._room:
            copying = self._at_hand.popleft() if self._at_hand else self._put_off.popleft()
        if not copying.copies.set_running_or_notify_cancel():
            return
        try:
            image = copying.picture.image if copying.picture is not None else None
            image = image or load_stored(copying.name)
            # The disk is waited for elsewhere, while this thread goes on.
            self._storing.submit(_save, make_derivatives(image), copying.copies)
        except BaseException as error:  # noqa: BLE001 - the one who waits is to hear of it
            copying.copies.set_exception(error)

    def _wait_until_calm(self) -> None:
        while (left := self._busy_since + LONGEST_WAIT_SECONDS - read_clock()) > 0:
            is_idle = self._idle.wait(timeout=left)
            pause = self._pressed_until - read_clock()
            if is_idle and pause <= 0:
                return
            time.sleep(max(0.0, min(pause, left)))


def _save(derived: Derivatives, copies: Future[StoredCopies]) -> None:
    try:
        copies.set_result(save_copies(derived))
    except BaseException as error:  # noqa: BLE001 - the one who waits is to hear of it
        copies.set_exception(error)


def _yield_to_others() -> None:
    """Lower this thread's priority: on Linux niceness belongs to threads (setpriority(2), Notes)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), COPYING_NICENESS)
