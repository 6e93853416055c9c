"""Files on local disk: synced before they are acknowledged, private, never overwritten, never half there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile

from mayagen.common.storage import SyncedFileSystemStorage


@pytest.fixture
def storage(tmp_path: Path) -> SyncedFileSystemStorage:
    return SyncedFileSystemStorage(location=tmp_path / "media")


def test_a_saved_file_is_read_back_and_is_private(storage: SyncedFileSystemStorage) -> None:
    name = storage.save("outputs/ab/one.png", ContentFile(b"content"))

    path = Path(storage.path(name))
    assert name == "outputs/ab/one.png"
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_taken_name_gets_another_one_and_the_first_file_stays(storage: SyncedFileSystemStorage) -> None:
    first = storage.save("one.png", ContentFile(b"first"))
    second = storage.save("one.png", ContentFile(b"second"))

    assert first != second
    assert Path(storage.path(first)).read_bytes() == b"first"
    assert Path(storage.path(second)).read_bytes() == b"second"


class BrokenFile(ContentFile):  # type: ignore[type-arg]
    """A client that goes away in the middle."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError


def test_a_save_that_breaks_leaves_no_file(storage: SyncedFileSystemStorage) -> None:
    with pytest.raises(ConnectionResetError):
        storage.save("outputs/half.png", BrokenFile(b""))

    assert not storage.exists("outputs/half.png")
    assert storage.listdir("outputs") == ([], [])


@pytest.mark.parametrize("name", ["../outside.png", "/etc/outside.png", "a/../../outside.png"])
def test_no_name_leads_outside(storage: SyncedFileSystemStorage, name: str) -> None:
    with pytest.raises(SuspiciousFileOperation):
        storage.save(name, ContentFile(b"content"))


def test_a_link_at_the_place_of_a_file_is_not_followed(
    storage: SyncedFileSystemStorage, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    Path(storage.path("one.png")).parent.mkdir()
    Path(storage.path("one.png")).symlink_to(target)

    name = storage.save("one.png", ContentFile(b"content"))

    assert name != "one.png"
    assert not target.exists()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_file_and_directories_are_synced_before_save_returns(tmp_path: Path) -> None:
    script = (
        "import sys; from django.conf import settings; settings.configure();"
        "from mayagen.common.storage import SyncedFileSystemStorage as Storage;"
        "from django.core.files.base import ContentFile;"
        "Storage(location=sys.argv[1]).save('a/b/c.png', ContentFile(b'x'))"
    )
    trace, media = tmp_path / "trace", str(tmp_path / "media")
    subprocess.run(
        ["strace", "-y", "-f", "-e", "trace=fsync", "-o", trace, sys.executable, "-c", script, media],
        check=True,
        env={**os.environ, "PYTHONPATH": "."},
    )

    calls = [line for line in trace.read_text().splitlines() if "fsync" in line]
    synced = [line.partition("<")[2].partition(">")[0] for line in calls]
    assert synced == [str(tmp_path), media, f"{media}/a", f"{media}/a/b/c.png", f"{media}/a/b"]
