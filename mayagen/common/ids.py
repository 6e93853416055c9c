"""Identifiers: time-ordered inside, random towards people who must not guess an order."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable

import uuid_utils.compat


def uuid7() -> uuid.UUID:
    """Return a new UUIDv7: time-ordered, so primary keys grow at one end of their index.

    Source: RFC 9562, section 5.7.
    """
    return uuid_utils.compat.uuid7()


def random_id() -> uuid.UUID:
    """Return a random UUIDv4, which tells nothing of when or in which order it was made.

    Source: RFC 9562, section 5.4.
    """
    return uuid.uuid4()


def random_name(n_bytes: int = 16) -> str:
    """Return a random URL-safe name for a stored file; no byte of it comes from a client."""
    return secrets.token_hex(n_bytes)


def read_ids(texts: Iterable[str]) -> list[uuid.UUID]:
    """Return the ids among texts that a client sent, in their order; what is none is passed over."""
    ids = []
    for text in texts:
        try:
            ids.append(uuid.UUID(text))
        except ValueError:
            continue
    return ids
