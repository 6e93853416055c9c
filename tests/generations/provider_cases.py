"""What the tests of all provider adapters share: an order to vary, and pictures to send with it."""

from __future__ import annotations

import io

from PIL import Image

from generations.providers.base import ProviderRequest

ORDER = ProviderRequest(
    endpoint="",
    kind="text_to_image",
    prompt="a cat",
    system_prompt="",
    negative_prompt="",
    parameters={},
    seed=None,
    n_outputs=1,
    width_px=1024,
    height_px=1024,
    inputs=(),
    idempotency_key="one",
    timeout_seconds=5,
)


def png(image: Image.Image | None = None) -> bytes:
    """Return that image as a PNG file; without one, a small black one."""
    buffer = io.BytesIO()
    (image or Image.new("RGB", (64, 64))).save(buffer, "PNG")
    return buffer.getvalue()
