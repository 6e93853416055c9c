"""What the demo shows: one prompt in two versions over a dozen cases, and an edit of a picture."""

from __future__ import annotations

from typing import Any, Final

PROMPT: Final[dict[str, Any]] = {
    "name": "Travel poster",
    "description": "A poster for a place, for the window of a small travel agency.",
    "tags": ["demo", "poster"],
}
FIRST_VERSION: Final[dict[str, Any]] = {
    "user_prompt": "A picture of {subject} {setting}.",
    "parameters": {"detail": 1},
    "change_note": "First wording.",
}
SECOND_VERSION: Final[dict[str, Any]] = {
    "user_prompt": (
        "A travel poster of {subject} {setting}, layered depth, warm evening light, "
        "one clear focal point, generous sky."
    ),
    "negative_prompt": "clutter, text, frame",
    "parameters": {"detail": 4},
    "change_note": "Says what makes a poster: depth, light, one focal point.",
}
EDIT_PROMPT: Final[dict[str, Any]] = {
    "name": "Change of season",
    "description": "The same view at another time of the year.",
    "tags": ["demo", "edit"],
}
EDIT_VERSIONS: Final[tuple[dict[str, Any], ...]] = (
    {
        "user_prompt": "The same view in {season}.",
        "parameters": {"strength": 0.4},
        "change_note": "First wording.",
    },
    {
        "user_prompt": "Repaint the same view in {season}, strong seasonal colours, keep the composition.",
        "parameters": {"strength": 0.8},
        "change_note": "Stronger colours; the composition must stay.",
    },
)
DATASET: Final[dict[str, str]] = {
    "name": "Places",
    "description": "Twelve places, four of each kind.",
}
CASES: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("lighthouse", "a lighthouse", "above a stormy sea", "coast"),
    ("harbour", "a fishing harbour", "at sunrise", "coast"),
    ("cliffs", "white cliffs", "under a clear blue sky", "coast"),
    ("beach", "a wide beach with palm trees", "at sunset", "coast"),
    ("summit", "a snowy mountain", "at dawn", "mountains"),
    ("lake", "a mountain lake", "in autumn", "mountains"),
    ("forest", "a pine forest", "in the fog", "mountains"),
    ("valley", "a green valley with a river", "in spring", "mountains"),
    ("skyline", "a city skyline", "at night under the moon", "town"),
    ("bridge", "a stone bridge", "in the rain", "town"),
    ("market", "a colourful market square", "at noon", "town"),
    ("desert", "a desert town", "beneath the stars", "town"),
)
SEASONS: Final = ("winter", "autumn")
VIEW_PROMPT: Final = "A green valley with a river and a small house, summer, clear sky."
