"""Follow what a PostgreSQL client says: its statements, and where its transactions end.

Source: PostgreSQL documentation, "Message Formats" of the frontend/backend protocol.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

_HEADER_BYTES: Final = 4
# Requests that come before a session begins: for encryption, and to cancel a statement.
_BEFORE_SESSION: Final = frozenset({80877102, 80877103, 80877104})


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a client, as it was sent.

    Args:
        raw: All of its bytes.
        statement: The text of the statement that it brings or runs; empty when it does neither.
        earlier: The statements of the transaction so far, this one left out.
    """

    raw: bytes
    statement: str = ""
    earlier: tuple[str, ...] = ()

    @property
    def is_commit(self) -> bool:
        """Whether it ends a transaction and keeps what was done."""
        return self.statement.strip().rstrip(";").upper() == "COMMIT"


@dataclass(slots=True)
class Transcript:
    """Cuts the bytes of one client into messages, and knows the statements of its open transaction."""

    _pending: bytearray = field(default_factory=bytearray)
    _has_begun: bool = False
    _prepared: dict[bytes, str] = field(default_factory=dict)
    _statements: list[str] = field(default_factory=list)

    def feed(self, content: bytes) -> list[Said]:
        """Return the messages that are complete by now."""
        self._pending += content
        said = []
        while (raw := self._cut()) is not None:
            said.append(self._understand(raw))
        return said

    def _cut(self) -> bytes | None:
        start = 1 if self._has_begun else 0
        if len(self._pending) < start + _HEADER_BYTES:
            return None
        (length,) = struct.unpack_from("!I", self._pending, start)
        if len(self._pending) < start + length:
            return None
        raw = bytes(self._pending[: start + length])
        del self._pending[: start + length]
        return raw

    def _understand(self, raw: bytes) -> Said:
        if not self._has_begun:
            (code,) = struct.unpack_from("!I", raw, _HEADER_BYTES)
            self._has_begun = code not in _BEFORE_SESSION
            return Said(raw)
        statement = self._get_statement(raw)
        if not statement:
            return Said(raw)
        said = Said(raw, statement, tuple(self._statements))
        word = statement.strip().rstrip(";").upper()
        if word in {"COMMIT", "ROLLBACK"} or word == "BEGIN":
            self._statements.clear()
        else:
            self._statements.append(statement)
        return said

    def _get_statement(self, raw: bytes) -> str:
        kind, body = raw[:1], raw[1 + _HEADER_BYTES :]
        if kind == b"Q":
            return body.rstrip(b"\0").decode(errors="replace")
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._prepared[name] = text.decode(errors="replace")
        elif kind == b"B":
            _portal, name, _ = body.split(b"\0", 2)
            return self._prepared.get(name, "")
        return ""
