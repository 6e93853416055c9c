"""ZIP files as attackers make them, built by hand where the standard library would refuse to."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping

TABLE = b"key,subject,image\na,cat,a.png\n"


def make_zip(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an honest archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_name(name: str) -> bytes:
    return make_zip({"items.csv": TABLE, name: b"x"})


def with_nul_in_name() -> bytes:
    return with_name("a!png.png").replace(b"a!png.png", b"a\x00png.png")


def duplicates() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("items.csv", TABLE)
        archive.writestr("a.png", b"one")
        archive.writestr("a.png", b"two")
    return buffer.getvalue()


def with_mode(kind: int) -> bytes:
    """An entry that unpacks to a link or a device."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("items.csv", TABLE)
        info = zipfile.ZipInfo("a.png")
        info.create_system = 3
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, b"/etc/passwd")
    return buffer.getvalue()


def symlink() -> bytes:
    return with_mode(stat.S_IFLNK)


def device() -> bytes:
    return with_mode(stat.S_IFCHR)


def bomb() -> bytes:
    """Thirty megabytes in thirty kilobytes."""
    return make_zip({"items.csv": TABLE, "a.png": bytes(30 * 2**20)})


def lying_bomb() -> bytes:
    """The same, whose directory and headers say that it is small."""
    content = bytes(30 * 2**20)
    return bomb().replace(struct.pack("<I", len(content)), struct.pack("<I", 1_000))


def encrypted() -> bytes:
    """Each entry says that it needs a password."""
    content = bytearray(make_zip({"items.csv": TABLE, "a.png": b"x"}))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := content.find(signature, start)) >= 0:
            content[start + place] |= 1
            start += 4
    return bytes(content)


def wrong_checksum() -> bytes:
    """The picture's checksum is another one's, in its header and in the directory."""
    picture = b"x" * 100
    checksum = struct.pack("<I", zlib.crc32(picture))
    return make_zip({"items.csv": TABLE, "a.png": picture}).replace(checksum, b"\x01\x02\x03\x04")


def other_name_in_header() -> bytes:
    """The directory names the entry otherwise than its own header."""
    content = make_zip({"items.csv": TABLE, "a.png": b"x"})
    place = content.index(b"a.png")
    return content[:place] + b"b.png" + content[place + 5 :]


def overlapping() -> bytes:
    """Two entries of the directory lead to the same bytes."""
    content = bytearray(make_zip({"items.csv": TABLE, "a.png": b"x" * 50, "b.png": b"x" * 50}))
    directory = content.index(b"PK\x01\x02")
    first = content.index(b"a.png", directory) - 46
    second = content.index(b"b.png", directory) - 46
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    return bytes(content)


def many_entries(n: int = 10_001) -> bytes:
    return make_zip({"items.csv": TABLE, **{f"{number}.png": b"" for number in range(n)}})


def huge_directory() -> bytes:
    """A directory of more bytes than are ever read."""
    return make_zip({"items.csv": TABLE, **{f"{number:06}{'x' * 300}.png": b"" for number in range(13_000)}})


def nested() -> bytes:
    return make_zip({"items.csv": TABLE, "more.zip": make_zip({"a.png": b"x"})})


def unusual_method() -> bytes:
    return make_zip({"items.csv": TABLE, "a.png": b"x"}, method=zipfile.ZIP_LZMA)


def truncated() -> bytes:
    return make_zip({"items.csv": TABLE, "a.png": b"x" * 1_000})[:-30]


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "path up": (lambda: with_name("../a.png"), "archive_path"),
    "path up inside": (lambda: with_name("images/../../a.png"), "archive_path"),
    "absolute path": (lambda: with_name("/etc/a.png"), "archive_path"),
    "drive": (lambda: with_name("C:/a.png"), "archive_path"),
    "backslashes": (lambda: with_name("..\\a.png"), "archive_path"),
    "line break in name": (lambda: with_name("a\r\n.png"), "archive_path"),
    "NUL in name": (with_nul_in_name, "archive_path"),
    "long name": (lambda: with_name("x" * 600 + ".png"), "archive_path"),
    "duplicates": (duplicates, "archive_duplicate"),
    "case twins": (lambda: make_zip({"items.csv": TABLE, "a.png": b"", "A.PNG": b""}), "archive_duplicate"),
    "composed twins": (
        lambda: make_zip({"items.csv": TABLE, "\u00e9.png": b"", "e\u0301.png": b""}),
        "archive_duplicate",
    ),
    "symlink": (symlink, "archive_link"),
    "device": (device, "archive_link"),
    "bomb": (bomb, "archive_ratio"),
    "encrypted": (encrypted, "archive_encrypted"),
    "overlapping": (overlapping, "archive_overlapping"),
    "many entries": (many_entries, "archive_too_many_entries"),
    "huge directory": (huge_directory, "archive_too_many_entries"),
    "nested": (nested, "archive_nested"),
    "unusual method": (unusual_method, "archive_method"),
    "truncated": (truncated, "archive_damaged"),
    "head only": (lambda: b"PK\x03\x04", "archive_damaged"),
    "no table": (lambda: make_zip({"a.png": b"x"}), "archive_table"),
    "two tables": (lambda: make_zip({"a.csv": TABLE, "b.tsv": TABLE}), "archive_table"),
    "empty": (lambda: make_zip({}), "archive_table"),
}
# Archives whose directory looks honest: what is wrong shows when the picture is unpacked.
HOSTILE_PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {
    "lying bomb": (lying_bomb, "archive_damaged"),
    "wrong checksum": (wrong_checksum, "archive_damaged"),
    "other name in header": (other_name_in_header, "archive_damaged"),
}
