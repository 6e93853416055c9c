"""Keep what comes from outside while it is looked at: a little in memory, more in a nameless file on disk."""

from __future__ import annotations

import asyncio
import mmap
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

MEMORY_BYTES: Final = 256 * 1024
_PRIVATE_DIRECTORY: Final = 0o700


class SpoolError(Exception):
    """This machine could not keep what came: its disk is full, or cannot be written to."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"What came could not be kept on this machine's disk ({type(error).__name__}).")


class Spool:
    """Bytes that come in parts and are then read as one; never more of them in memory than 256 KB.

    The file has no name, so nothing is left behind whatever becomes of the process. It is gone, like what
    is held in memory, when neither the spool nor what `read` returned is referred to any more.

    Args:
        folder: Where the file is made; None for the system's own place for such files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._buffer = bytearray()
        self._file: IO[bytes] | None = None
        self.n_bytes = 0

    @classmethod
    def of(cls, content: bytes, folder: Path | None = None) -> Spool:
        """Return a spool that holds these bytes; one that writes them to disk blocks.

        Raises:
            SpoolError: They could not be kept.
        """
        spool = cls(folder)
        spool._buffer += content
        spool.n_bytes = len(content)
        if spool.n_bytes > MEMORY_BYTES:
            spool._flush()
        return spool

    async def add(self, part: bytes) -> None:
        """Keep some more; the disk is written to by another thread.

        Raises:
            SpoolError: It could not be kept.
        """
        self._buffer += part
        self.n_bytes += len(part)
        if len(self._buffer) > MEMORY_BYTES:
            await asyncio.to_thread(self._flush)

    def read(self) -> bytes | mmap.mmap:
        """Return all that was added; what is on disk is mapped, so that only what is looked at takes memory.

        Raises:
            SpoolError: The rest could not be kept.
        """
        if self._file is None:
            return bytes(self._buffer)
        self._flush()
        try:
            return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise SpoolError(error) from error

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        try:
            if self._file is None:
                self._file = self._make_file()
            self._file.write(self._buffer)
            self._file.flush()
        except OSError as error:
            raise SpoolError(error) from error
        self._buffer = bytearray()

    def _make_file(self) -> IO[bytes]:
        if self._folder is not None:
            with suppress(FileExistsError):
                self._folder.mkdir(mode=_PRIVATE_DIRECTORY, parents=True)
        return TemporaryFile(dir=self._folder)
