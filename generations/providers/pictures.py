"""Pictures as replies carry them, inline or behind an address; all but small ones go to disk at once."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from generations.providers.base import ProviderOutput
from mayagen.common.http_safety import (
    ConnectionFailedError,
    DownloadTimeoutError,
    OutgoingRequestError,
    ReplyStatusError,
    download_into,
)
from mayagen.common.spooling import Spool

MAX_OUTPUT_BYTES: Final = 50 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a reply; with neither body nor address, what came was empty or not base64."""

    body: Spool | None = field(default=None, repr=False)
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """The outputs that arrived, and why others did not.

    Args:
        is_passing: A picture that is missing may well be there when it is asked for again.
        is_gone: A picture has been there once, or never was: its address answered 404 or 410.
    """

    outputs: list[ProviderOutput]
    failures: list[str]
    is_passing: bool = False
    is_gone: bool = False


def read_picture(value: object, *, folder: Path | None) -> Picture:
    """Return what a text stands for: a data URI with base64, or an address.

    Args:
        folder: Where what is not small is kept.

    Raises:
        SpoolError: This machine could not keep it.
    """
    if not isinstance(value, str):
        return Picture()
    return decode_picture(value, folder=folder) if value.startswith("data:") else Picture(url=value)


def decode_picture(encoded: str, *, folder: Path | None) -> Picture:
    """Return the picture behind base64, with or without the beginning of a data URI.

    Raises:
        SpoolError: This machine could not keep it.
    """
    try:
        content = base64.b64decode(encoded.rpartition(",")[2], validate=True)
    except ValueError:
        return Picture()
    return Picture(body=Spool.of(content, folder))


async def collect_pictures(
    session: aiohttp.ClientSession, pictures: Sequence[Picture], *, deadline: float, folder: Path | None
) -> Collected:
    """Return all pictures, fetching those that have an address side by side.

    Args:
        deadline: Of `time.monotonic`, for everything together.
        folder: Where those that are not small are kept.

    Raises:
        SpoolError: This machine could not keep one of them.
    """
    found = await asyncio.gather(*(_fetch(session, picture, deadline, folder) for picture in pictures))
    faults = [fault for fault in found if isinstance(fault, _Fault)]
    return Collected(
        outputs=[ProviderOutput(body) for body in found if isinstance(body, Spool)],
        failures=[fault.sentence for fault in faults],
        is_passing=any(fault.is_passing for fault in faults),
        is_gone=any(fault.is_gone for fault in faults),
    )


@dataclass(frozen=True, slots=True)
class _Fault:
    sentence: str
    is_passing: bool = False
    is_gone: bool = False


async def _fetch(
    session: aiohttp.ClientSession, picture: Picture, deadline: float, folder: Path | None
) -> Spool | _Fault:
    if picture.url is None:
        if picture.body is None or not picture.body.n_bytes:
            return _Fault("An image of the reply is empty or not base64.")
        return picture.body
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        return _Fault("There was no time left to fetch an image.", is_passing=True)
    try:
        body = Spool(folder)
        await download_into(body, session, picture.url, max_bytes=MAX_OUTPUT_BYTES, timeout_seconds=remaining)
    except OutgoingRequestError as error:
        sentence = f"An image could not be fetched ({error.code}): {error}"
        is_gone = isinstance(error, ReplyStatusError) and error.status in {404, 410}
        return _Fault(sentence, is_passing=_is_passing(error), is_gone=is_gone)
    return body


def _is_passing(error: OutgoingRequestError) -> bool:
    if isinstance(error, ReplyStatusError):
        return error.status == 429 or error.status >= 500  # noqa: PLR2004
    return isinstance(error, ConnectionFailedError | DownloadTimeoutError)
