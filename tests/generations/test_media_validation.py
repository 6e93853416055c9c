"""What is taken for an image: every hostile file ends in one clear reason, quickly and in little memory."""

from __future__ import annotations

import hashlib
import io
import mmap
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from generations.media.containers import is_sound_png
from generations.media.errors import MediaError
from generations.media.validation import DecodedImage, MediaLimits, check_image, decode_image
from tests.generations import hostile_files as files

GOOD = {
    "image/png": files.encode(files.picture(), "PNG"),
    "image/jpeg": files.encode(files.picture(), "JPEG"),
    "image/webp": files.encode(files.picture(), "WEBP"),
}


def code_of(content: bytes, declared_mime_type: str | None = None) -> str:
    with pytest.raises(MediaError) as caught:
        decode_image(content, declared_mime_type=declared_mime_type)
    assert caught.value.message
    assert caught.value.code.startswith("media_")
    return caught.value.code


@pytest.mark.parametrize("mime_type", GOOD)
def test_a_good_image_tells_its_facts(mime_type: str) -> None:
    decoded = decode_image(GOOD[mime_type], declared_mime_type=mime_type)

    assert (decoded.width_px, decoded.height_px, decoded.mime_type) == (40, 30, mime_type)
    assert (decoded.image.mode, decoded.image.size) == ("RGB", (40, 30))
    assert decoded.size_bytes == len(decoded.content)
    assert decoded.sha256 == hashlib.sha256(decoded.content).hexdigest()
    assert decoded.content == GOOD[mime_type]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: b"", "media_empty"),
        (lambda: b"\x89PNG\r\n\x1a\n", "media_not_an_image"),
        (lambda: b"\xff\xd8\xff", "media_not_an_image"),
        (lambda: b"RIFF\x00\x00\x00\x00WEBP", "media_not_an_image"),
        (lambda: files.PDF, "media_not_an_image"),
        (lambda: files.SVG, "media_not_an_image"),
        (lambda: files.HTML, "media_not_an_image"),
        (lambda: files.MP4, "media_not_an_image"),
        (lambda: files.DATA_URL, "media_not_an_image"),
        (lambda: files.EPS, "media_not_an_image"),
        (lambda: files.AVIF_GRID, "media_not_an_image"),
        (lambda: files.JPEG_2000, "media_not_an_image"),
        (lambda: files.encode(files.picture(), "JPEG2000"), "media_not_an_image"),
        (lambda: files.encode(files.picture(), "AVIF"), "media_not_an_image"),
        (lambda: files.encode(files.picture(), "BMP"), "media_not_an_image"),
        (lambda: files.encode(files.picture(), "ICO"), "media_not_an_image"),
        (files.tiff_with_far_offset, "media_not_an_image"),
        (files.text_bomb, "media_too_complex"),
        (files.profile_bomb, "media_too_complex"),
        (lambda: files.flat_png(9000, 9000), "media_too_many_pixels"),
        (lambda: files.announced_png(12_000, 9_000), "media_too_many_pixels"),
        (lambda: files.announced_png(20_000, 20_000), "media_too_many_pixels"),
        (lambda: files.announced_png(1, 65_535), "media_too_many_pixels"),
        (lambda: files.announced_png(2**31 - 1, 2**31 - 1), "media_too_many_pixels"),
        (lambda: files.announced_png(6709, 6709), "media_too_many_pixels"),
        (lambda: files.announced_png(4000, 4000), "media_truncated"),
        (lambda: files.animation("GIF", 2000), "media_animated"),
        (lambda: files.animation("PNG", 300), "media_animated"),
        (lambda: files.animation("WEBP", 50, duration=0, lossless=True), "media_animated"),
        (lambda: files.jpeg_with_many_scans(2000), "media_too_complex"),
        (lambda: bytes(50 * 2**20 + 1), "media_too_large"),
    ],
)  # fmt: skip
def test_each_hostile_file_has_its_reason_quickly_and_cheaply(make: Callable[[], bytes], code: str) -> None:
    content = make()
    memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()

    assert code_of(content) == code

    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_before < 200 * 1024


@pytest.mark.parametrize("mime_type", GOOD)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_image_is_refused(mime_type: str, kept: float) -> None:
    content = GOOD[mime_type]

    assert code_of(content[: int(len(content) * kept)]) in {"media_truncated", "media_not_an_image"}


@pytest.mark.parametrize(
    ("content", "declared"),
    [
        (GOOD["image/png"], "image/jpeg"),
        (GOOD["image/jpeg"], "image/png"),
        (GOOD["image/png"], "text/html"),
        (GOOD["image/png"], "image/svg+xml"),
        (GOOD["image/png"], ""),
    ],
)
def test_a_file_that_is_not_what_it_claims_to_be_is_refused(content: bytes, declared: str) -> None:
    assert code_of(content, declared) == "media_type_mismatch"


@pytest.mark.parametrize("declared", ["image/jpg", "IMAGE/JPEG", "image/jpeg; charset=binary"])
def test_common_spellings_of_a_type_are_understood(declared: str) -> None:
    assert decode_image(GOOD["image/jpeg"], declared_mime_type=declared).mime_type == "image/jpeg"


@pytest.mark.parametrize("mime_type", GOOD)
def test_bytes_after_the_end_are_gone(mime_type: str) -> None:
    decoded = decode_image(GOOD[mime_type] + files.HTML + b"PK\x03\x04")

    assert decoded.content == GOOD[mime_type]


def test_metadata_is_gone_from_what_is_stored_and_from_the_image() -> None:
    secret = files.exif(artist="SECRET")
    for content in (
        files.metadata_png(),
        files.encode(files.picture(), "JPEG", exif=secret, comment=b"SECRET", xmp=b"SECRET"),
        files.encode(files.picture(), "WEBP", exif=secret, xmp=b"SECRET"),
    ):
        assert b"SECRET" in content

        decoded = decode_image(content)

        assert b"SECRET" not in decoded.content
        assert not decoded.image.info
        with Image.open(io.BytesIO(decoded.content)) as stored:
            stored.load()
            assert not stored.getexif()
            assert stored.convert("RGB").tobytes() == decoded.image.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_turned_picture_comes_upright_once(kind: str) -> None:
    image = Image.new("RGB", (40, 20), "blue")
    image.paste((255, 0, 0), (0, 0, 20, 20))

    decoded = decode_image(files.encode(image, kind, exif=files.exif(orientation=6)))
    again = decode_image(decoded.content)

    assert decoded.image.size == again.image.size == (20, 40)
    red, _, blue = decoded.image.getpixel((10, 5))  # type: ignore[misc]
    assert red > 200
    assert blue < 60
    assert again.sha256 == decoded.sha256


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    image = Image.new("I;16", (4, 4), 0x8080)

    assert decode_image(files.encode(image, "PNG")).image.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_every_mode_becomes_eight_bit_rgb(mode: str) -> None:
    kind = "JPEG" if mode in {"CMYK", "YCbCr"} else "PNG"
    white = Image.new("RGB", (16, 16), "white").convert(mode)

    decoded = decode_image(files.encode(white, kind))

    assert decoded.image.mode == "RGB"
    assert min(decoded.image.getpixel((8, 8))) > 250  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparency_is_kept(mode: str) -> None:
    source = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    image = source.quantize() if mode == "P" else source.convert(mode)

    assert decode_image(files.encode(image, "PNG")).image.getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_an_embedded_profile_is_applied() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    plain = decode_image(files.encode(files.picture(), "PNG", icc_profile=profile.tobytes()))
    unusable = decode_image(files.encode(files.picture(), "PNG", icc_profile=files.wide_gamut_profile()))

    assert plain.image.tobytes() == decode_image(GOOD["image/png"]).image.tobytes()
    assert unusable.image.mode == "RGB"


def test_a_still_gif_is_kept_as_a_png() -> None:
    decoded = decode_image(
        files.encode(files.picture("P"), "GIF", comment=b"SECRET"), declared_mime_type="image/gif"
    )

    assert decoded.mime_type == "image/png"
    assert b"SECRET" not in decoded.content


def test_a_phone_s_picture_with_a_second_image_inside_is_a_jpeg() -> None:
    content = files.encode(files.picture(), "MPO", save_all=True, append_images=[files.picture()])

    decoded = decode_image(content, declared_mime_type="image/jpeg")

    assert decoded.mime_type == "image/jpeg"
    assert len(decoded.content) < len(content) * 0.7


def test_no_process_is_started_for_a_postscript_file(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: started.append(args))

    code_of(files.EPS)

    assert started == []


def test_limits_can_be_narrower() -> None:
    limits = MediaLimits(max_bytes=10_000, max_pixels=1000, max_side_px=100, formats=("PNG",))

    with pytest.raises(MediaError, match="more pixels"):
        decode_image(GOOD["image/png"], limits)
    with pytest.raises(MediaError, match="not an image of an accepted format"):
        decode_image(GOOD["image/jpeg"], limits)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(GOOD)), st.lists(st.tuples(st.floats(0, 0.999), st.binary(max_size=8)), max_size=6)
)
def test_damaged_bytes_are_an_image_or_a_reason_but_never_another_error(
    mime_type: str, damages: list[tuple[float, bytes]]
) -> None:
    content = bytearray(GOOD[mime_type])
    for place, replacement in damages:
        start = int(len(content) * place)
        content[start : start + len(replacement)] = replacement

    try:
        decoded = decode_image(bytes(content))
    except MediaError:
        return
    assert decoded.image.mode in {"RGB", "RGBA"}
    with Image.open(io.BytesIO(decoded.content)) as stored:
        stored.load()


def test_a_png_is_checked_without_decoding_it_and_tells_the_same() -> None:
    for content in (
        GOOD["image/png"],
        files.encode(files.picture("RGBA"), "PNG"),
        GOOD["image/png"] + b"tail",
    ):
        checked, decoded = check_image(content), decode_image(content)

        assert is_sound_png(content)
        assert checked == decoded.without_pixels()
        assert checked.content == decoded.content


@pytest.mark.parametrize(
    "content",
    [
        files.encode(files.picture("P"), "PNG"),
        files.encode(files.picture("L"), "PNG"),
        files.encode(files.picture(), "PNG", exif=files.exif(orientation=6)),
        files.metadata_png(),
        files.announced_png(400, 400),
        files.animation("PNG", 3),
    ],
)
def test_of_any_other_png_nothing_is_known_without_decoding(content: bytes) -> None:
    assert not is_sound_png(content)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_other_formats_are_decoded_to_be_checked(kind: str) -> None:
    content = files.encode(files.picture("P" if kind == "GIF" else "RGB"), kind)

    assert isinstance(check_image(content), DecodedImage)
    with pytest.raises(MediaError):
        check_image(content[: len(content) // 2])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=3)), max_size=2), st.booleans())
def test_a_png_that_passes_the_check_can_be_decoded(
    damages: list[tuple[float, bytes]], repaired: bool
) -> None:
    content = bytearray(GOOD["image/png"])
    for place, replacement in damages:
        start = 8 + int((len(content) - 8) * place)
        content[start : start + len(replacement)] = replacement
    damaged = files.with_right_checksums(bytes(content)) if repaired else bytes(content)

    try:
        checked = check_image(damaged)
    except MediaError:
        return
    assert decode_image(checked.content).sha256 == checked.sha256


def test_a_file_on_disk_is_decoded_like_one_in_memory(tmp_path: Path) -> None:
    for mime_type, content in GOOD.items():
        path = tmp_path / mime_type.replace("/", ".")
        path.write_bytes(content + b"tail")
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        decoded = decode_image(mapped)

        assert decoded.content == content
        assert decoded.image.tobytes() == decode_image(content).image.tobytes()


def test_the_largest_picture_that_is_taken_costs_less_than_200_mb() -> None:
    measure = """
import resource, sys
from generations.media.derivatives import make_derivatives
from generations.media.validation import decode_image
content = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
make_derivatives(decode_image(content).image)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    content = files.flat_png(6700, 6700)

    grown = subprocess.run([sys.executable, "-c", measure], input=content, capture_output=True, check=True)

    assert int(grown.stdout) < 200 * 1024
