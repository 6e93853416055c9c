"""Walk the containers of PNG, JPEG and WebP files: keep what makes the picture, drop all the rest.

Metadata can hold prompts, places, scripts and provenance, and bytes after the end can hold another file.
Walking costs a fraction of decoding, and lets the picture's own bytes stay as they were: what is kept is
told as views of them, and nothing is copied.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from isal import igzip_lib, isal_zlib

from generations.media.errors import MediaTooComplexError, MediaTruncatedError

Content = bytes | mmap.mmap
"""A whole file: in memory, or mapped into it so that only what is looked at takes any."""

MAX_JPEG_SCANS: Final = 100
MAX_CHUNKS: Final = 100_000

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Palette, transparency and the meaning of colours; every other ancillary chunk goes.
_PNG_KEPT: Final = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"cICP"}
)
# Bytes for each pixel of the kinds that services send: colours, and colours with transparency.
_PNG_CHANNELS: Final = {2: 3, 6: 4}
_PNG_HEADER: Final = struct.Struct(">IIBBBBB")
_PNG_LAST_FILTER: Final = 4
# What has no say in whether, and which way up, the picture is decoded.
_PNG_PLAIN: Final = frozenset(
    {b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"cICP", b"pHYs", b"tIME", b"bKGD", b"caBX"}
)
# How much is unpacked, or taken in to be unpacked, at once.
_UNPACKED_BYTES: Final = 512 * 1024
_PACKED_BYTES: Final = 256 * 1024
_WEBP_KEPT: Final = frozenset({b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L"})
_WEBP_METADATA_FLAGS: Final = 0b0000_1100  # EXIF and XMP.
_JPEG_ICC: Final = b"ICC_PROFILE\x00"
# A marker inside entropy-coded data: 0xFF that is neither stuffed, nor a restart, nor a fill byte.
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP0, _APP2, _APP14, _APP15, _COM = 0xE0, 0xE2, 0xEE, 0xEF, 0xFE


class _Kept:
    """What is kept of a file, as few pieces as there can be."""

    def __init__(self, content: Content) -> None:
        self._view = memoryview(content)
        self._pieces: list[memoryview] = []
        self._start = self._end = 0
        self.n_parts = 0

    def keep(self, start: int, end: int) -> None:
        """Keep a part of the file; neighbours become one piece."""
        self.n_parts += 1
        if start != self._end:
            self._close()
            self._start = start
        self._end = end

    def insert(self, literal: bytes) -> None:
        """Put something of our own."""
        self._close()
        self._pieces.append(memoryview(literal))

    def list_pieces(self) -> list[memoryview]:
        """Return the pieces in their order."""
        self._close()
        return self._pieces

    def _close(self) -> None:
        if self._end > self._start:
            self._pieces.append(self._view[self._start : self._end])
        self._start = self._end


def clean_png(content: Content) -> list[memoryview]:
    """Return the pieces of the PNG without metadata and without what follows its end.

    Raises:
        MediaTruncatedError: If its chunks do not reach an end.
        MediaTooComplexError: If it consists of absurdly many chunks.
    """
    kept = _Kept(content)
    kept.keep(0, len(PNG_SIGNATURE))
    for kind, start, end in _walk_png(content):
        if kind in _PNG_KEPT:
            kept.keep(start, end)
    return kept.list_pieces()


def is_sound_png(content: Content) -> bool:
    """Return whether a PNG of the usual kind is certain to be decoded; of any other, nothing is known.

    That is so when every checksum is right and what is unpacked, a little at a time, is as many rows as the
    header announces, each beginning with one of the five filters (PNG specification, sections 9 and 10). It
    costs less than decoding, which would undo the filters too, and lets other threads run meanwhile.
    """
    view = memoryview(content)
    chunks = [(kind, view[start + 4 : end]) for kind, start, end in _walk_png(content)]
    kinds = [kind for kind, _ in chunks]
    n_before = kinds.index(b"IDAT") if b"IDAT" in kinds else 0
    if kinds[:1] != [b"IHDR"] or not _PNG_PLAIN.issuperset(kinds[1:n_before]):
        return False
    if set(kinds[n_before:-1]) != {b"IDAT"}:
        return False
    if any(isal_zlib.crc32(body[:-4]) != int.from_bytes(body[-4:], "big") for _, body in chunks):
        return False
    row_bytes, n_rows = _measure_rows(chunks[0][1][4:-4])
    return row_bytes > 0 and _has_sound_rows(
        [body[4:-4] for _, body in chunks[n_before:-1]], row_bytes, n_rows
    )


def _measure_rows(header: memoryview) -> tuple[int, int]:
    """The unpacked bytes of a row, and how many rows; nothing for kinds that are not looked at."""
    if len(header) != _PNG_HEADER.size:
        return 0, 0
    width, height, depth, colours, *methods = _PNG_HEADER.unpack(header)
    if depth != 8 or colours not in _PNG_CHANNELS or any(methods):  # noqa: PLR2004
        return 0, 0
    return 1 + width * _PNG_CHANNELS[colours], height


def _has_sound_rows(packed: Sequence[memoryview], row_bytes: int, n_rows: int) -> bool:
    unpacker = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_ZLIB)
    left = row_bytes * n_rows
    try:
        for block in _unpack(unpacker, packed):
            if max(block[left % row_bytes :: row_bytes], default=0) > _PNG_LAST_FILTER:
                return False
            left -= len(block)
            if left < 0:
                return False
    except igzip_lib.IsalError:  # type: ignore[misc] # its stub gives the value for the type
        return False
    return unpacker.eof and left == 0


def _unpack(unpacker: igzip_lib.IgzipDecompressor, packed: Sequence[memoryview]) -> Iterator[bytes]:
    """Yield what is unpacked in blocks, each unpacked in one piece; what follows the end is left alone."""
    for part in packed:
        for start in range(0, len(part), _PACKED_BYTES):
            if unpacker.eof:
                return
            block = unpacker.decompress(part[start : start + _PACKED_BYTES], _UNPACKED_BYTES)
            while block:
                yield block
                has_more = not (unpacker.needs_input or unpacker.eof)
                block = unpacker.decompress(b"", _UNPACKED_BYTES) if has_more else b""


def _walk_png(content: Content) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind, start and end, up to the one that ends the file."""
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        header = content[position : position + 8]
        if len(header) < 8:  # noqa: PLR2004
            raise MediaTruncatedError
        length, kind = struct.unpack(">I4s", header)
        end = position + 12 + length
        if end > len(content):
            raise MediaTruncatedError
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end
    raise MediaTooComplexError


def clean_webp(content: Content) -> list[memoryview]:
    """Return the pieces of the WebP file without metadata and without what follows its end.

    Raises:
        MediaTruncatedError: If it is shorter than its header says.
        MediaTooComplexError: If it consists of absurdly many chunks.
    """
    riff_end = 8 + struct.unpack("<I", content[4:8])[0] if len(content) >= 12 else 0  # noqa: PLR2004
    if not 12 <= riff_end <= len(content):  # noqa: PLR2004
        raise MediaTruncatedError
    kept = _Kept(content)
    position = 12
    while position + 8 <= riff_end:
        kind, length = struct.unpack("<4sI", content[position : position + 8])
        end = position + 8 + length + (length & 1)
        if end > riff_end:
            raise MediaTruncatedError
        if kind == b"VP8X" and length:
            kept.keep(position, position + 8)
            kept.insert(bytes([content[position + 8] & ~_WEBP_METADATA_FLAGS]))
            kept.keep(position + 9, end)
        elif kind in _WEBP_KEPT:
            kept.keep(position, end)
        if kept.n_parts > MAX_CHUNKS:
            raise MediaTooComplexError
        position = end
    pieces = kept.list_pieces()
    size = len(b"WEBP") + sum(map(len, pieces))
    return [memoryview(b"RIFF" + struct.pack("<I", size) + b"WEBP"), *pieces]


def clean_jpeg(content: Content) -> list[memoryview]:
    """Return the pieces of the JPEG without metadata and without what follows its first image.

    Raises:
        MediaTruncatedError: If its segments do not reach an end.
        MediaTooComplexError: If it has so many scans that decoding them is an attack.
    """
    kept = _Kept(content)
    kept.keep(0, 2)
    position, scans = 2, 0
    while True:
        marker, position = _next_marker(content, position)
        if marker == _EOI:
            kept.keep(position - 2, position)
            return kept.list_pieces()
        if position + 2 > len(content):
            raise MediaTruncatedError
        end = position + int.from_bytes(content[position : position + 2], "big")
        if end > len(content) or end < position + 2:
            raise MediaTruncatedError
        if marker == _SOS:
            scans += 1
            found = _JPEG_MARKER.search(content, end)
            if found is None:
                raise MediaTruncatedError
            end = found.start()
        if scans > MAX_JPEG_SCANS or kept.n_parts > MAX_CHUNKS:
            raise MediaTooComplexError
        if _is_kept_segment(marker, content, position):
            kept.keep(position - 2, end)
        position = end


def _next_marker(content: Content, position: int) -> tuple[int, int]:
    """The marker at this position, fill bytes skipped, and the position behind it."""
    if content[position : position + 1] != b"\xff":
        raise MediaTruncatedError
    while content[position : position + 1] == b"\xff":
        position += 1
    if position >= len(content):
        raise MediaTruncatedError
    return content[position], position + 1


def _is_kept_segment(marker: int, content: Content, position: int) -> bool:
    if marker == _APP2:
        return content[position + 2 : position + 2 + len(_JPEG_ICC)] == _JPEG_ICC
    return marker in {_APP0, _APP14} or not (_APP0 <= marker <= _APP15 or marker == _COM)
