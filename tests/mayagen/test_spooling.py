"""What comes from outside is kept in little memory, whatever its size, and leaves nothing behind."""

from __future__ import annotations

import errno
import hashlib
import mmap
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mayagen.common import spooling
from mayagen.common.spooling import MEMORY_BYTES, Spool, SpoolError

PART = bytes(range(256)) * 256


async def spooled(n_parts: int, folder: Path) -> Spool:
    spool = Spool(folder)
    for _ in range(n_parts):
        await spool.add(PART)
    return spool


def list_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("n_parts", [0, 1, 4, 5, 40])
async def test_what_was_added_is_read_whole(n_parts: int, tmp_path: Path) -> None:
    spool = await spooled(n_parts, tmp_path)

    assert bytes(spool.read()) == PART * n_parts
    assert spool.n_bytes == len(PART) * n_parts


async def test_little_stays_in_memory_and_more_goes_to_disk(tmp_path: Path) -> None:
    folder = tmp_path / "spool"

    assert isinstance((await spooled(MEMORY_BYTES // len(PART), folder)).read(), bytes)
    assert not folder.exists()
    assert isinstance((await spooled(MEMORY_BYTES // len(PART) + 1, folder)).read(), mmap.mmap)
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_the_file_has_no_name(tmp_path: Path) -> None:
    spool = await spooled(40, tmp_path)

    assert spool.read()
    assert list_names(tmp_path) == []


async def test_memory_does_not_grow_with_what_comes(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        spool = await spooled(400, tmp_path)
        content = spool.read()
        digest = hashlib.sha256(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert digest.digest() == hashlib.sha256(PART * 400).digest()
    assert peak < 4 * MEMORY_BYTES


def test_bytes_that_are_at_hand_are_kept_the_same_way(tmp_path: Path) -> None:
    large, small = PART * 10, PART

    assert isinstance(Spool.of(large, tmp_path).read(), mmap.mmap)
    assert (bytes(Spool.of(large, tmp_path).read()), Spool.of(small, tmp_path).read()) == (large, small)


async def test_a_disk_that_takes_nothing_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spooling, "TemporaryFile", refuse)

    with pytest.raises(SpoolError, match="could not be kept"):
        await spooled(10, tmp_path)


async def test_a_folder_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")

    with pytest.raises(SpoolError):
        await spooled(10, tmp_path / "spool")
