"""Walk the containers of PNG, JPEG and WebP files: keep what makes the picture, drop all the rest.

Metadata can hold prompts, places, scripts and provenance, and bytes after the end can hold another file.
Walking costs a fraction of decoding, and lets the picture's own bytes stay as they were.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from generations.media.errors import MediaTooComplexError, MediaTruncatedError

MAX_JPEG_SCANS: Final = 100
MAX_CHUNKS: Final = 100_000

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Palette, transparency and the meaning of colours; every other ancillary chunk goes.
_PNG_KEPT: Final = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"cICP"}
)
_WEBP_KEPT: Final = frozenset({b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L"})
_WEBP_METADATA_FLAGS: Final = 0b0000_1100  # EXIF and XMP.
_JPEG_ICC: Final = b"ICC_PROFILE\x00"
# A marker inside entropy-coded data: 0xFF that is neither stuffed, nor a restart, nor a fill byte.
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP0, _APP2, _APP14, _APP15, _COM = 0xE0, 0xE2, 0xEE, 0xEF, 0xFE


def clean_png(content: bytes) -> bytes:
    """Return the PNG without metadata and without what follows its end.

    Raises:
        MediaTruncatedError: If its chunks do not reach an end.
        MediaTooComplexError: If it consists of absurdly many chunks.
    """
    kept = [PNG_SIGNATURE]
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        header = content[position : position + 8]
        if len(header) < 8:  # noqa: PLR2004
            raise MediaTruncatedError
        length, kind = struct.unpack(">I4s", header)
        end = position + 12 + length
        if end > len(content):
            raise MediaTruncatedError
        if kind in _PNG_KEPT:
            kept.append(content[position:end])
        if kind == b"IEND":
            return b"".join(kept)
        position = end
    raise MediaTooComplexError


def clean_webp(content: bytes) -> bytes:
    """Return the WebP file without metadata and without what follows its end.

    Raises:
        MediaTruncatedError: If it is shorter than its header says.
        MediaTooComplexError: If it consists of absurdly many chunks.
    """
    riff_end = 8 + struct.unpack("<I", content[4:8])[0] if len(content) >= 12 else 0  # noqa: PLR2004
    if not 12 <= riff_end <= len(content):  # noqa: PLR2004
        raise MediaTruncatedError
    kept: list[bytes] = []
    position = 12
    while position + 8 <= riff_end:
        kind, length = struct.unpack("<4sI", content[position : position + 8])
        end = position + 8 + length + (length & 1)
        if end > riff_end:
            raise MediaTruncatedError
        chunk = content[position:end]
        if kind == b"VP8X" and length:
            chunk = chunk[:8] + bytes([chunk[8] & ~_WEBP_METADATA_FLAGS]) + chunk[9:]
        if kind in _WEBP_KEPT:
            kept.append(chunk)
        if len(kept) > MAX_CHUNKS:
            raise MediaTooComplexError
        position = end
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def clean_jpeg(content: bytes) -> bytes:
    """Return the JPEG without metadata and without what follows its first image.

    Raises:
        MediaTruncatedError: If its segments do not reach an end.
        MediaTooComplexError: If it has so many scans that decoding them is an attack.
    """
    kept = [content[:2]]
    position, scans = 2, 0
    while True:
        marker, position = _next_marker(content, position)
        if marker == _EOI:
            kept.append(b"\xff\xd9")
            return b"".join(kept)
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
        if scans > MAX_JPEG_SCANS or len(kept) > MAX_CHUNKS:
            raise MediaTooComplexError
        if _is_kept_segment(marker, content, position):
            kept.append(b"\xff" + bytes([marker]) + content[position:end])
        position = end


def _next_marker(content: bytes, position: int) -> tuple[int, int]:
    """The marker at this position, fill bytes skipped, and the position behind it."""
    if content[position : position + 1] != b"\xff":
        raise MediaTruncatedError
    while content[position : position + 1] == b"\xff":
        position += 1
    if position >= len(content):
        raise MediaTruncatedError
    return content[position], position + 1


def _is_kept_segment(marker: int, content: bytes, position: int) -> bool:
    if marker == _APP2:
        return content.startswith(_JPEG_ICC, position + 2)
    return marker in {_APP0, _APP14} or not (_APP0 <= marker <= _APP15 or marker == _COM)
