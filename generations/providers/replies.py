"""Read what a reply holds, without trusting it and without holding up the other calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

MAX_BYTES_AT_ONCE: Final = 256 * 1024
"""Above this size, parsing would hold up the other calls of the event loop."""
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def parse_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in these bytes; empty if they hold anything else."""
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


async def read_by_size(
    n_bytes: int,
    read: Callable[Arguments, Result],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Result:
    """Return what `read` returns; it runs in a thread when it has much to read."""
    if n_bytes > MAX_BYTES_AT_ONCE:
        return await asyncio.to_thread(read, *args, **kwargs)
    return read(*args, **kwargs)
