"""ZIP files of strangers: what could harm is refused from the directory, before a byte is unpacked.

What the directory claims is not believed either: each entry is counted while it unpacks, and its checksum
compared at the end. Nothing is ever written under a name that came from the archive.
"""

from __future__ import annotations

import contextlib
import io
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Final

from mayagen.common.errors import DomainError

TABLE_ENDINGS: Final = ("csv", "tsv", "tab", "jsonl", "ndjson")
ARCHIVE_ENDINGS: Final = ("zip", "jar", "tar", "gz", "tgz", "bz2", "xz", "7z", "rar", "zst")
SIGNATURES: Final = (b"PK\x03\x04", b"PK\x05\x06")
MAX_NAME_LENGTH: Final = 500
# Far more than a directory of as many entries as are allowed; none larger is even read.
MAX_DIRECTORY_BYTES: Final = 4 * 1024 * 1024
_ALWAYS_FINE_BYTES: Final = 1024 * 1024
_LOCAL_HEADER_BYTES: Final = 30
_CHUNK_BYTES: Final = 64 * 1024
_MADE_ON_UNIX: Final = 3
_ENCRYPTED_FLAGS: Final = 0x0001 | 0x0040 | 0x2000
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNSAFE_NAME: Final = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|^/|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)")
# What macOS and Windows put beside the files that people chose.
_CLUTTER: Final = re.compile(r"(?:^|/)(?:__MACOSX/|\.DS_Store$|\._|Thumbs\.db$|desktop\.ini$)")


class ArchiveError(DomainError):
    """The ZIP file can't be used; nothing of it was."""

    code: ClassVar[str] = "archive_invalid"
    sentence: ClassVar[str] = "The ZIP file can't be used."


class ArchiveDamagedError(ArchiveError):
    """It is no ZIP file, ends too early, or its parts contradict each other."""

    code = "archive_damaged"
    sentence = "The ZIP file is damaged, or is none."


class ArchiveEncryptedError(ArchiveError):
    """An entry needs a password."""

    code = "archive_encrypted"
    sentence = "The ZIP file is encrypted. Make one without a password."


class ArchiveNestedError(ArchiveError):
    """An entry is an archive itself."""

    code = "archive_nested"
    sentence = "The ZIP file holds another archive. Put the files themselves into it."


class ArchivePathError(ArchiveError):
    """An entry's name leads out of the archive, or could not be a plain file's name."""

    code = "archive_path"
    sentence = "The ZIP file holds a file of an unsafe name."


class ArchiveLinkError(ArchiveError):
    """An entry is a symbolic link or a device."""

    code = "archive_link"
    sentence = "The ZIP file holds a link. Put the files themselves into it."


class ArchiveDuplicateError(ArchiveError):
    """Two entries have one name, or names that some systems take for one."""

    code = "archive_duplicate"
    sentence = "The ZIP file holds two files of the same name."


class ArchiveOverlappingError(ArchiveError):
    """Entries share bytes, which no honest program writes."""

    code = "archive_overlapping"
    sentence = "The files in the ZIP file overlap."


class ArchiveMethodError(ArchiveError):
    """An entry is packed in a way that is not read here."""

    code = "archive_method"
    sentence = "The ZIP file is packed in an unusual way. Make one with the usual (deflate) packing."


class ArchiveTooManyEntriesError(ArchiveError):
    """There are more entries than allowed."""

    code = "archive_too_many_entries"
    sentence = "The ZIP file holds too many files."


class ArchiveTooLargeError(ArchiveError):
    """All entries together unpack to more than allowed."""

    code = "archive_too_large"
    status = 413
    sentence = "The ZIP file unpacks to more than is allowed."


class ArchiveEntryTooLargeError(ArchiveError):
    """One entry unpacks to more than allowed."""

    code = "archive_entry_too_large"
    status = 413
    sentence = "A file in the ZIP file is larger than allowed."


class ArchiveRatioError(ArchiveError):
    """An entry unpacks to absurdly more than it takes."""

    code = "archive_ratio"
    sentence = "A file in the ZIP file unpacks to absurdly more than it takes; it is not unpacked."


class ArchiveTableError(ArchiveError):
    """There is no table in it, or more than one."""

    code = "archive_table"
    sentence = "The ZIP file must hold exactly one table (CSV, TSV or JSON Lines) beside the images."


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What is unpacked at all."""

    max_entries: int = 10_000
    max_total_bytes: int = 2 * 1024**3
    max_entry_bytes: int = 50 * 1024**2
    max_table_bytes: int = 20 * 1024**2
    max_ratio: int = 200


DEFAULT_LIMITS: Final = ArchiveLimits()


class ImageArchive:
    """A checked archive of one table and the images beside it; use `open_archive` to make one."""

    def __init__(self, archive: zipfile.ZipFile, limits: ArchiveLimits) -> None:
        self._archive, self._limits = archive, limits
        entries = _check_entries(archive, limits)
        tables = [name for name in entries if _ending(name) in TABLE_ENDINGS]
        if len(tables) != 1:
            found = f"it holds {len(tables)}: {', '.join(tables[:3])}" if tables else "it holds none"
            raise ArchiveTableError(f"{ArchiveTableError.sentence[:-1]}; {found}.")
        self.table_name = tables[0]
        self._table = entries.pop(self.table_name)
        self._entries = {_to_key(name): info for name, info in entries.items()}
        self._folder = self.table_name.rpartition("/")[0]

    def find(self, name: str) -> str | None:
        """Return the entry that a row of the table names, seen from the table's folder or from the top."""
        wanted = _to_key(name.strip().replace("\\", "/"))
        while wanted.startswith("./"):
            wanted = wanted[2:]
        beside = _to_key(f"{self._folder}/{wanted}") if self._folder else wanted
        return next((key for key in (beside, wanted) if key in self._entries), None)

    def read(self, key: str) -> bytes:
        """Return the bytes of an entry that `find` named.

        Raises:
            ArchiveError: It is damaged, or larger than the directory says.
        """
        content = io.BytesIO()
        self._unpack(self._entries[key], content, self._limits.max_entry_bytes)
        return content.getvalue()

    def unpack_table(self, target: BinaryIO) -> None:
        """Write the table to a file.

        Raises:
            ArchiveError: It is damaged, or larger than allowed.
        """
        self._unpack(self._table, target, self._limits.max_table_bytes)

    def _unpack(self, info: zipfile.ZipInfo, target: BinaryIO, limit: int) -> None:
        n_bytes = 0
        with _foreign_errors_as_damage(), self._archive.open(info) as entry:
            while chunk := entry.read(_CHUNK_BYTES):
                n_bytes += len(chunk)
                if n_bytes > limit:
                    raise ArchiveEntryTooLargeError(_about(info.filename, ArchiveEntryTooLargeError))
                if n_bytes > _allowed_by_ratio(info, self._limits):
                    raise ArchiveRatioError
                target.write(chunk)
        if n_bytes != info.file_size:
            raise ArchiveDamagedError


@contextlib.contextmanager
def open_archive(file: BinaryIO, limits: ArchiveLimits = DEFAULT_LIMITS) -> Iterator[ImageArchive]:
    """Check a ZIP file whole and open it.

    Raises:
        ArchiveError: One of its kinds, whose `code` and `message` say why.
    """
    with _foreign_errors_as_damage():
        archive = zipfile.ZipFile(_GuardedFile(file))
    with archive:
        yield ImageArchive(archive, limits)


def is_archive(head: bytes, file_name: str) -> bool:
    """Return whether a file is to be read as a ZIP file, by its first bytes or its name."""
    return head.startswith(SIGNATURES) or _ending(file_name) == "zip"


class _GuardedFile(io.RawIOBase):
    """The file below, which gives no more at once than a directory may have.

    The module of the standard library reads the whole directory and makes an object of each entry before
    anybody can count them, so that a directory of gigabytes would fill the memory.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def read(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        content = self._file.read(MAX_DIRECTORY_BYTES + 1 if size < 0 else min(size, MAX_DIRECTORY_BYTES + 1))
        if len(content) > MAX_DIRECTORY_BYTES:
            raise ArchiveTooManyEntriesError
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


@contextlib.contextmanager
def _foreign_errors_as_damage() -> Iterator[None]:
    """Turn what the standard library raises on hostile archives into one of our reasons."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, UnicodeError) as error:
        raise ArchiveDamagedError from error
    except (ValueError, OverflowError, KeyError, IndexError) as error:
        raise ArchiveDamagedError from error
    except NotImplementedError as error:
        raise ArchiveMethodError from error
    except RuntimeError as error:
        raise ArchiveEncryptedError from error


def _check_entries(archive: zipfile.ZipFile, limits: ArchiveLimits) -> dict[str, zipfile.ZipInfo]:
    """Return the files of the archive by name, the clutter of operating systems left out."""
    infos = archive.infolist()
    if len(infos) > limits.max_entries:
        message = f"The ZIP file holds {len(infos):,} files; at most {limits.max_entries:,} are taken."
        raise ArchiveTooManyEntriesError(message)
    files: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for info in infos:
        _check_entry(info, limits)
        twin = _to_key(info.filename).casefold()
        if twin in seen:
            raise ArchiveDuplicateError(_about(info.filename, ArchiveDuplicateError))
        seen.add(twin)
        if not info.is_dir() and not _CLUTTER.search(info.filename):
            files[info.filename] = info
    if sum(info.file_size for info in infos) > limits.max_total_bytes:
        raise ArchiveTooLargeError
    _check_places(infos, archive.start_dir)
    return files


def _check_entry(info: zipfile.ZipInfo, limits: ArchiveLimits) -> None:
    # What stands in the file: the standard library cuts its own copy off at a NUL.
    name = info.orig_filename
    if not name or _UNSAFE_NAME.search(name) or len(_to_key(name)) > MAX_NAME_LENGTH:
        raise ArchivePathError(_about(name, ArchivePathError))
    if info.flag_bits & _ENCRYPTED_FLAGS:
        raise ArchiveEncryptedError
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode) if info.create_system == _MADE_ON_UNIX else 0
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise ArchiveLinkError(_about(name, ArchiveLinkError))
    if info.compress_type not in _METHODS:
        raise ArchiveMethodError
    if _ending(name) in ARCHIVE_ENDINGS:
        raise ArchiveNestedError(_about(name, ArchiveNestedError))
    if info.file_size > limits.max_entry_bytes:
        raise ArchiveEntryTooLargeError(_about(name, ArchiveEntryTooLargeError))
    if info.file_size > _allowed_by_ratio(info, limits):
        raise ArchiveRatioError


def _check_places(infos: Sequence[zipfile.ZipInfo], directory: int) -> None:
    """Refuse entries that share bytes with each other or with the directory behind them."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise ArchiveOverlappingError
        end = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size
    if end > directory:
        raise ArchiveOverlappingError


def _allowed_by_ratio(info: zipfile.ZipInfo, limits: ArchiveLimits) -> int:
    return max(_ALWAYS_FINE_BYTES, info.compress_size * limits.max_ratio)


def _ending(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].lower()


def _to_key(name: str) -> str:
    # macOS writes names decomposed, tables mostly hold them composed.
    return unicodedata.normalize("NFC", name)


def _about(name: str, error: type[ArchiveError]) -> str:
    """Return the error's sentence with the name of the entry at fault, made safe to show."""
    shown = "".join(char if char.isprintable() else "�" for char in name[:80])
    return f"{error.sentence} It is “{shown}”."
