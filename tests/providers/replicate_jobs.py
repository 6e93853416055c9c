"""Predictions of the local Replicate server: what is known of one, and how its webhooks go out."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

ENDED: Final = frozenset({"succeeded", "failed", "canceled", "aborted"})
OLD_SECONDS: Final = 600
FOREIGN_SECRET: Final = "whsec_" + base64.b64encode(b"somebody else's secret").decode()
# `early` adds one before the order is answered, `late` waits, the last three must be refused.
WEBHOOKS: Final = ("", "none", "twice", "early", "late", "forged", "old", "unsigned")
WEBHOOK_TRIES: Final = 6
WEBHOOK_PAUSE_SECONDS: Final = 0.25


@dataclass
class Job:
    """One prediction.

    Args:
        key: What it is known by in the ledger: its prompt.
        file_fault: What its pictures are like: `truncated`, `wrong_type` or sound.
    """

    id: str
    model: str
    version: str
    deployment: str
    input: Mapping[str, Any]
    key: str
    webhook: str
    events: Sequence[str]
    base_url: str
    file_fault: str = ""
    status: str = "starting"
    error: str | None = None
    output: Any = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: datetime | None = None
    completed_at: datetime | None = None
    deadline: datetime | None = None
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    @property
    def n_outputs(self) -> int:
        """How many pictures it makes."""
        return int(self.input.get("num_outputs", 1))

    def to_json(self, *, is_expired: bool) -> dict[str, Any]:
        """Return the prediction as the API shows it."""
        address = f"{self.base_url}/predictions/{self.id}"
        record: dict[str, Any] = {
            "id": self.id,
            "model": self.model,
            "version": self.version,
            "input": {} if is_expired else self.input,
            "logs": "Using seed: 42\n 50%|#####     | 2/4" if self.started_at else "",
            "output": None if is_expired else self.output,
            "data_removed": is_expired,
            "error": self.error,
            "source": "api",
            "status": self.status,
            "created_at": _text(self.created_at),
            "urls": {
                "get": address,
                "cancel": f"{address}/cancel",
                "web": f"https://replicate.com/p/{self.id}",
            },
        }
        for name in ("started_at", "completed_at", "deadline"):
            if getattr(self, name) is not None:
                record[name] = _text(getattr(self, name))
        if self.deployment:
            record["deployment"] = self.deployment
        if self.completed_at and self.started_at:
            seconds = (self.completed_at - self.started_at).total_seconds()
            record["metrics"] = {"predict_time": seconds, "image_count": self.n_outputs}
        return record


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a webhook by one secret."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def webhook_headers(
    secrets: Sequence[str], message_id: str, body: bytes, *, manner: str = ""
) -> dict[str, str]:
    """Return the headers of a webhook sent now, or such as must be refused."""
    headers = {"Content-Type": "application/json"}
    if manner == "unsigned":
        return headers
    timestamp = str(int(time.time()) - (OLD_SECONDS if manner == "old" else 0))
    by = [FOREIGN_SECRET] if manner == "forged" else secrets
    signatures = [sign(secret, message_id, timestamp, body) for secret in by]
    return {
        **headers,
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


async def deliver(
    session: aiohttp.ClientSession, url: str, body: bytes, *, secrets: Sequence[str], manner: str
) -> int:
    """Send a webhook until it is taken, for some seconds; return the last status, 0 for none."""
    message_id = f"msg_{hashlib.sha256(body).hexdigest()[:24]}"
    status = 0
    for number in range(WEBHOOK_TRIES):
        headers = webhook_headers(secrets, message_id, body, manner=manner)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
        if 200 <= status < 300:
            break
        await asyncio.sleep(WEBHOOK_PAUSE_SECONDS * 2**number)
    return status


def to_body(job: Job) -> bytes:
    """Return the body of a webhook: the prediction as a question for it would show it."""
    return json.dumps(job.to_json(is_expired=False)).encode()
