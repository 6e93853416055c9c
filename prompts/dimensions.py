"""From an aspect ratio and a resolution to pixels; pure."""

from __future__ import annotations

MULTIPLE_PX = 8


def get_dimensions(aspect_ratio: str, resolution_px: int) -> tuple[int, int]:
    """Return (width, height) in pixels, the longer side `resolution_px`, both multiples of 8.

    Args:
        aspect_ratio: Width to height as `16:9`.
        resolution_px: Length of the longer side.
    """
    width, height = (int(part) for part in aspect_ratio.split(":"))
    scale = resolution_px / max(width, height)
    return _round(width * scale), _round(height * scale)


def _round(length: float) -> int:
    return max(MULTIPLE_PX, round(length / MULTIPLE_PX) * MULTIPLE_PX)
