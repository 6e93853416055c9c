"""The copies of an image: small ones that fit their boxes, and a blind one that tells nothing."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image

from generations.media.derivatives import make_blind, make_derivatives
from generations.media.naming import make_storage_key
from generations.media.validation import decode_image
from tests.generations import hostile_files as files


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize(
    "size", [(512, 512), (1024, 768), (300, 900), (1, 1), (2000, 3), (64, 64), (1025, 1023)]
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_copies_fit_their_boxes_at_any_size(size: tuple[int, int], mode: str) -> None:
    copies = make_derivatives(decode_image(files.encode(files.picture(mode, size), "PNG")).image)

    thumbnail, small, blind = map(
        opened, (copies.thumbnail_webp, copies.small_thumbnail_webp, copies.blind_jpeg)
    )
    assert (thumbnail.format, small.format, blind.format) == ("WEBP", "WEBP", "JPEG")
    assert max(thumbnail.size) == min(512, max(size))
    assert 192 * 0.6 < max(small.size) <= 192 or max(size) < 192
    assert blind.size == (1024, 1024)


def test_the_same_picture_gives_the_same_bytes() -> None:
    image = decode_image(files.encode(files.picture(size=(700, 500)), "PNG")).image

    assert make_derivatives(image) == make_derivatives(image)


def test_blind_copies_differ_in_pixels_alone() -> None:
    """Whatever format, metadata, transparency or depth a picture came with, its blind copy does not tell."""
    image = files.picture(size=(512, 512))
    variants = [
        files.encode(image, "PNG"),
        files.encode(image, "PNG", icc_profile=None, dpi=(300, 300), compress_level=1),
        files.encode(image.convert("RGBA"), "PNG"),
        files.encode(image, "WEBP", lossless=True, exif=files.exif(artist="SECRET")),
        files.encode(image.convert("L"), "PNG"),
    ]

    blind = {make_derivatives(decode_image(content).image).blind_jpeg for content in variants}

    assert len(blind) == 1
    content = blind.pop()
    assert re.findall(rb"JFIF|Exif|ICC_PROFILE|http|Adobe", content) == [b"JFIF"]
    assert set(opened(content).info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_blind_copies_share_their_encoder_s_tables_and_layout() -> None:
    small, large, tall = (
        opened(make_blind(files.picture(size=size))) for size in ((300, 300), (2000, 2000), (100, 700))
    )

    assert small.quantization == large.quantization == tall.quantization  # type: ignore[attr-defined]
    assert small.layer == large.layer == tall.layer  # type: ignore[attr-defined]
    assert small.info == large.info == tall.info


def test_the_blind_copy_is_letterboxed_on_neutral_grey_and_flattened_onto_it() -> None:
    wide = opened(make_blind(Image.new("RGB", (200, 100), "red")))
    clear = opened(make_blind(Image.new("RGBA", (200, 200), (255, 0, 0, 0))))

    assert all(abs(level - 128) < 4 for level in wide.getpixel((512, 10)))  # type: ignore[union-attr]
    assert wide.getpixel((512, 512))[0] > 240  # type: ignore[index]
    assert all(abs(level - 128) < 4 for level in clear.getpixel((512, 512)))  # type: ignore[union-attr]


def test_storage_keys_are_random_and_hold_no_client_s_byte() -> None:
    keys = {make_storage_key("outputs", "image/png") for _ in range(1000)}

    assert len(keys) == 1000
    assert all(re.fullmatch(r"outputs/([0-9a-f]{2})/\1[0-9a-f]{30}\.png", key) for key in keys)
    with pytest.raises(ValueError, match="No file of type"):
        make_storage_key("outputs", "text/html")
