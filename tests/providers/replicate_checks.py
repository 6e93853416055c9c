"""How the local Replicate server judges an order: as the public reference says it must be written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from tests.providers.replicate_faults import invalid_input, problem

UNKNOWN_MODEL: Final = "nobody/nothing"
FIELDS: Final = frozenset(
    {"input", "version", "stream", "webhook", "webhook_completed", "webhook_events_filter"}
)
_RANGES: Final = {"num_outputs": (1, 4), "width": (64, 2048), "height": (64, 2048)}


def parse_object(content: bytes) -> dict[str, Any]:
    """Return the object of a JSON body; empty if it holds anything else."""
    try:
        fields = json.loads(content)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def not_found() -> web.Response:
    """Return the answer for what there is not."""
    return problem(404, "The requested resource could not be found.", title="Not found")


def find_problem(request: web.Request, fields: Mapping[str, Any]) -> web.Response | None:
    """Return the refusal of an order that is not sound."""
    given = fields.get("input")
    if not isinstance(given, dict):
        return invalid_input("", "input is required")
    is_versioned = request.path == "/v1/predictions"
    if is_versioned and not fields.get("version"):
        return invalid_input("", "version is required")
    allowed = FIELDS if is_versioned else FIELDS - {"version"}
    unknown = sorted(set(fields) - allowed)
    if unknown:
        sentence = f"Additional property {unknown[0]} is not allowed"
        return invalid_input("", sentence, "additional_property_not_allowed")
    place = request.match_info
    if UNKNOWN_MODEL in {f"{place.get('owner')}/{place.get('name')}", fields.get("version")}:
        return not_found()
    if not isinstance(given.get("prompt"), str) or not given["prompt"]:
        return invalid_input("input", "prompt is required")
    return _find_problem_of_input(given)


def _find_problem_of_input(given: Mapping[str, Any]) -> web.Response | None:
    for name, (low, high) in _RANGES.items():
        value = given.get(name, low)
        if isinstance(value, bool) or not isinstance(value, int):
            return invalid_input(f"input.{name}", "Invalid type. Expected: integer", "invalid_type")
        if not low <= value <= high:
            return invalid_input(f"input.{name}", f"Must be between {low} and {high}", "number_range")
    for name in ("image", "mask"):
        value = given.get(name, "data:")
        if not isinstance(value, str) or not value.startswith(("http://", "https://", "data:")):
            return invalid_input(f"input.{name}", "Does not match format 'uri'", "format")
    return None
