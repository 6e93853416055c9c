"""ZIP files: what could harm is refused with its own code before anything is unpacked."""

from __future__ import annotations

import io

import pytest

from generations.media.archives import (
    ArchiveEntryTooLargeError,
    ArchiveError,
    ArchiveLimits,
    ArchiveTooLargeError,
    open_archive,
)
from tests.generations.hostile_archives import HOSTILE, HOSTILE_PICTURES, TABLE, make_zip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_whole(name: str) -> None:
    make, code = HOSTILE[name]

    with pytest.raises(ArchiveError) as caught, open_archive(io.BytesIO(make())):
        pass

    assert caught.value.code == code
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", HOSTILE_PICTURES)
def test_pictures_that_are_not_what_the_directory_says_are_refused(name: str) -> None:
    make, code = HOSTILE_PICTURES[name]

    with open_archive(io.BytesIO(make())) as archive, pytest.raises(ArchiveError) as caught:
        archive.read(archive.find("a.png") or "")

    assert caught.value.code == code


def test_what_all_entries_unpack_to_together_is_limited() -> None:
    content = make_zip({"items.csv": TABLE, "a.png": bytes(600), "b.png": bytes(600)})

    with (
        pytest.raises(ArchiveTooLargeError),
        open_archive(io.BytesIO(content), ArchiveLimits(max_total_bytes=1_000)),
    ):
        pass
    with (
        pytest.raises(ArchiveEntryTooLargeError),
        open_archive(io.BytesIO(content), ArchiveLimits(max_entry_bytes=500)),
    ):
        pass


def test_a_table_is_unpacked_up_to_its_own_limit() -> None:
    content = make_zip({"items.csv": TABLE * 10})

    with (
        open_archive(io.BytesIO(content), ArchiveLimits(max_table_bytes=100)) as archive,
        pytest.raises(ArchiveEntryTooLargeError),
    ):
        archive.unpack_table(io.BytesIO())


@pytest.mark.parametrize("named", ["images/é.png", "./images/é.png", "images\\é.png", "images/e\u0301.png"])
def test_pictures_are_found_beside_the_table_however_their_names_are_written(named: str) -> None:
    files = {"cases/items.csv": TABLE, "cases/images/é.png": b"here", "__MACOSX/cases/._items.csv": b"x"}

    with open_archive(io.BytesIO(make_zip(files))) as archive:
        found = archive.find(named)
        assert found is not None
        assert archive.read(found) == b"here"
        assert archive.find("cases/images/é.png") == found
        assert archive.find("../cases/images/é.png") is None
        assert archive.find("items.csv") is None
