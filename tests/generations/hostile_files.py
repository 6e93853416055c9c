"""Files as attackers make them, built by hand where a library would refuse to."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image, ImageCms, PngImagePlugin


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert(mode)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks: bytes, size: tuple[int, int] = (40, 30)) -> bytes:
    """A good PNG with further chunks behind its header."""
    good = encode(picture(size=size), "PNG")
    return good[:33] + b"".join(chunks) + good[33:]


def flat_png(width: int, height: int) -> bytes:
    """A huge picture of one colour in a small file."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + width * 3)
    data = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def announced_png(width: int, height: int) -> bytes:
    """A header that promises more pixels than the file holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_right_checksums(content: bytes) -> bytes:
    """The PNG with the checksums that its chunks ought to have, as far as they can be told apart."""
    fixed, position = bytearray(content), 8
    while position + 12 <= len(fixed):
        end = position + 12 + struct.unpack(">I", fixed[position : position + 4])[0]
        if end > len(fixed):
            break
        fixed[end - 4 : end] = struct.pack(">I", zlib.crc32(fixed[position + 4 : end - 4]))
        position = end
    return bytes(fixed)


def text_bomb() -> bytes:
    body = b"Comment\x00\x00" + zlib.compress(bytes(100 * 2**20), 9)
    return png_with(chunk(b"zTXt", body))


def profile_bomb() -> bytes:
    body = b"icc\x00\x00" + zlib.compress(bytes(100 * 2**20), 9)
    return png_with(chunk(b"iCCP", body))


def animation(kind: str, n_frames: int, **options: Any) -> bytes:
    frames = [Image.new("RGB", (8, 8), (index % 256, index // 256, 0)) for index in range(n_frames)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def jpeg_with_many_scans(n_scans: int) -> bytes:
    """A progressive JPEG that repeats its first scan: each one costs a pass over all pixels."""
    good = encode(picture(), "JPEG", progressive=True)
    first = good.index(b"\xff\xda")
    second = good.index(b"\xff\xda", first + 2)
    scan = good[first : good.rindex(b"\xff\xc4", first, second)] or good[first:second]
    return good[:first] + scan * n_scans + good[second:]


def exif(**tags: Any) -> Image.Exif:
    data = Image.Exif()
    for name, value in tags.items():
        data[{"orientation": 0x0112, "artist": 0x013B}[name]] = value
    data.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return data


def metadata_png() -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", "SECRET prompt, seed 42")
    notes.add_itxt("XML:com.adobe.xmp", "<x>SECRET</x>")
    return encode(picture(), "PNG", pnginfo=notes, exif=exif(artist="SECRET"), dpi=(72, 72))


def wide_gamut_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def tiff_with_far_offset() -> bytes:
    return b"II*\x00" + struct.pack("<I", 0xFFFFFFF0) + bytes(64)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%id) (w) file\nshowpage\n"
PDF = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"
MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(200)
AVIF_GRID = b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf" + bytes(200)
JPEG_2000 = b"\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x14ftypjp2 \x00\x00\x00\x00jp2 " + bytes(200)
DATA_URL = b"data:image/svg+xml;base64,PHN2Zy8+"
