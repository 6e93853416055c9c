"""fal's webhooks: signed with a key of the server's own, sent again when they are not taken."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from tests.providers.fal_server import FalServer, Job

USER_ID: Final = "auth0|65f0c0ffee"
ANSWER_SECONDS: Final = 15.0
# fal's own take two hours.
RETRY_SECONDS: Final = (0.1, 0.2, 0.4, 0.8)
WEBHOOKS: Final = ("", "none", "twice", "early", "late", "forged", "altered", "old", "unsigned")


class Signer:
    """A signing key and its public half as fal publishes it."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def rotate(self) -> None:
        """Sign with a new key from now on, and publish it instead of the old one."""
        self._key = Ed25519PrivateKey.generate()

    def jwks(self) -> dict[str, Any]:
        """The set of public keys."""
        encoded = base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw()).rstrip(b"=")
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": encoded.decode()}]}

    def sign(self, body: bytes, *, request_id: str, seconds: float | None = None) -> dict[str, str]:
        """Return the headers that go with this body."""
        timestamp = str(int(time.time() if seconds is None else seconds))
        lines = (request_id, USER_ID, timestamp, hashlib.sha256(body).hexdigest())
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": USER_ID,
            "X-Fal-Webhook-Timestamp": timestamp,
            "X-Fal-Webhook-Signature": self._key.sign("\n".join(lines).encode()).hex(),
        }


class Delivery:
    """Sends webhooks in the server's own loop."""

    def __init__(self, server: FalServer) -> None:
        self._server = server
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stranger = Signer()

    def begin(self, job: Job) -> None:
        """Send what comes before the job has ended."""
        if job.webhook == "early" and job.webhook_url:
            self._start(job, 0.0)

    def end(self, job: Job) -> None:
        """Send what comes once it has."""
        if not job.webhook_url or job.webhook == "none":
            return
        self._start(job, self._server.behaviour.webhook_delay_seconds if job.webhook == "late" else 0.0)
        if job.webhook == "twice" or self._server.dice.throw(job.key, "duplicate_webhooks"):
            self._start(job, 0.05)

    async def close(self) -> None:
        """Stop sending."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _start(self, job: Job, delay_seconds: float) -> None:
        task = asyncio.get_running_loop().create_task(self._send(job, delay_seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, job: Job, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        for pause in (*RETRY_SECONDS, 0.0):
            body = json.dumps(self._server.webhook_body(job)).encode()
            headers = self._headers(job, body)
            if job.webhook == "altered":
                body = body.replace(b'"OK"', b'"ERROR"')
            status = await self._post(job.webhook_url, headers, body)
            self._server.ledger.add("webhook", key=job.key, job_id=job.request_id, status=status)
            if 200 <= status < 300:
                return
            await asyncio.sleep(pause)

    def _headers(self, job: Job, body: bytes) -> Mapping[str, str]:
        request_id = job.request_id
        match job.webhook:
            case "unsigned":
                return {}
            case "forged":
                return self._stranger.sign(body, request_id=request_id)
            case "old":
                return self._server.signer.sign(body, request_id=request_id, seconds=time.time() - 600)
        return self._server.signer.sign(body, request_id=request_id)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer; 0 for none."""
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=50))
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        sent = {"Content-Type": "application/json", **headers}
        try:
            async with self._session.post(
                url, data=body, headers=sent, timeout=timeout, allow_redirects=False
            ) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0
