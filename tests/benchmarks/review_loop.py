"""How many ratings a second the review loop takes, by the page's calls, over 100,000 due outputs.

The load comes from this process: raw HTTP/1.1 over kept connections, one for each evaluator.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tests.benchmarks.support import (
    benchmark_installation,
    copy_row,
    find_free_port,
    get_pss_mb,
    report,
    running,
    wait_for_web,
)

N_OUTPUTS = 100_000
N_EVALUATORS = 8
SECONDS = 30
WARM_UP_SECONDS = 3
MIN_RATINGS_PER_SECOND = 200.0
MAX_P95_MS = 40.0
_BATCH = 5_000


@dataclass
class Evaluator:
    """One evaluator's kept connection and what was measured on it."""

    cookies: str
    csrf_token: str
    queue: str
    port: int
    is_measured: bool = False
    next_ms: list[float] = field(default_factory=list)
    submit_ms: list[float] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    async def work(self, until: float) -> None:
        """Take and rate one item after the other."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        level = 0
        while time.monotonic() < until:
            answer = await self._post(f"review-queues/{self.queue}/next/", {"count": 1}, self.next_ms)
            for assignment in answer.get("assignments", []):
                level = level % 5 + 1
                self.given.append(assignment["id"])
                body = {"level": level, "note": "", "flagged": False, "decided_ms": 800}
                await self._post(f"assignments/{assignment['id']}/submit/", body, self.submit_ms)
        self._writer.close()

    async def _post(self, path: str, body: dict[str, Any], times: list[float]) -> dict[str, Any]:
        content = json.dumps(body).encode()
        head = (
            f"POST /api/v1/{path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {self.cookies}\r\n"
            f"X-CSRFToken: {self.csrf_token}\r\nOrigin: http://127.0.0.1:{self.port}\r\n"
            "Content-Type: application/json\r\nAccept: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        started = time.perf_counter()
        self._writer.write(head.encode() + content)
        status, answer = await self._read()
        if self.is_measured:
            times.append((time.perf_counter() - started) * 1000)
        if status != 200:
            self.errors[f"{status} {answer[:120]!r}"] += 1
            return {}
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    async def _read(self) -> tuple[int, bytes]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        if "transfer-encoding: chunked" in head:
            body = b""
            while size := int(await self._reader.readline(), 16):
                body += await self._reader.readexactly(size)
                await self._reader.readline()
            await self._reader.readline()
        else:
            length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
            body = await self._reader.readexactly(int(length.split(":")[1]))
        if "connection: close" in head:
            self._writer.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        return status, gzip.decompress(body) if "content-encoding: gzip" in head else body


def main() -> None:
    """Run the benchmark and print its figures."""
    port = find_free_port()
    with benchmark_installation(PORT=str(port)) as environment:
        queue = _load()
        evaluators = [_sign_in(queue, port) for _ in range(N_EVALUATORS)]
        command = [sys.executable, "manage.py", "serve", "--only", "web"]
        with running(command, environment=environment, log="web.log") as server:
            wait_for_web(port)
            ratings_per_second = asyncio.run(_measure(evaluators))
            pss_mb = get_pss_mb(server.pid)
        _report(evaluators, ratings_per_second, pss_mb)


async def _measure(evaluators: list[Evaluator]) -> float:
    started = time.monotonic()
    until = started + WARM_UP_SECONDS + SECONDS
    tasks = [asyncio.create_task(evaluator.work(until)) for evaluator in evaluators]
    await asyncio.sleep(WARM_UP_SECONDS)
    for evaluator in evaluators:
        evaluator.is_measured = True
    measured_from = time.monotonic()
    await asyncio.gather(*tasks)
    n_rated = sum(len(evaluator.submit_ms) for evaluator in evaluators)
    return n_rated / (time.monotonic() - measured_from)


def _report(evaluators: list[Evaluator], ratings_per_second: float, pss_mb: float) -> None:
    from django.db.models import Count

    from evaluations.models import Rating
    from evaluations.selectors import list_drift

    report(
        figure=f"ratings per second, {N_EVALUATORS} evaluators, {N_OUTPUTS:,} due",
        value=ratings_per_second,
        unit="ratings/s",
        target=f">= {MIN_RATINGS_PER_SECOND:.0f}",
        met=ratings_per_second >= MIN_RATINGS_PER_SECOND,
    )
    for name in ("next", "submit"):
        p95 = _percentile([ms for each in evaluators for ms in getattr(each, f"{name}_ms")], 0.95)
        target = f"<= {MAX_P95_MS:.0f}"
        report(figure=f"p95 of {name}", value=p95, unit="ms", target=target, met=p95 <= MAX_P95_MS)
    given = [each for evaluator in evaluators for each in evaluator.given]
    per_output = Rating.objects.values("output_image").annotate(n=Count("pk"))
    n_twice = len(given) - len(set(given)) + per_output.filter(n__gt=1).count()
    report(figure="items given twice", value=n_twice, unit="items", target="= 0", met=n_twice == 0)
    n_lost = len(given) - Rating.objects.standing().count()
    report(figure="ratings lost", value=n_lost, unit="ratings", target="= 0", met=n_lost == 0)
    errors = sum((evaluator.errors for evaluator in evaluators), Counter[str]())
    report(figure="errors", value=errors.total(), unit="answers", target="= 0", met=not errors)
    for error, n in errors.most_common(3):
        print(f"{n} × {error}", file=sys.stderr)
    n_drifted = sum(1 for _ in islice(list_drift(), 100))
    report(
        figure="tallies that differ from a recount", value=n_drifted, unit="", target="= 0", met=not n_drifted
    )
    report(figure="PSS of the web processes", value=pss_mb, unit="MB", target="none", met=True)


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _load() -> str:
    """Fill the installation with due outputs and return the id of the queue that holds them."""
    from django.db import connection

    from evaluations import tasks
    from evaluations.models import QueueItem, ReviewQueue
    from generations.models import Generation, OutputImage
    from tests.generations.factories import GenerationFactory
    from tests.prompts.factories import PromptVersionFactory

    versions = PromptVersionFactory.create_batch(2)
    models = [GenerationFactory(completed=True, prompt_version=version) for version in versions]
    output = OutputImage.objects.filter(generation=models[0]).get()
    for start in range(0, N_OUTPUTS - len(models), _BATCH):
        numbers = range(start, min(start + _BATCH, N_OUTPUTS - len(models)))
        generations = [copy_row(models[number % 2], case_key=f"bench-{number}") for number in numbers]
        Generation.objects.bulk_create(generations)
        OutputImage.objects.bulk_create([copy_row(output, generation=each) for each in generations])
    tasks.sync_queues()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    queue = ReviewQueue.objects.get(is_default=True)
    n_due = QueueItem.objects.filter(queue=queue, n_open__gt=0).count()
    if n_due != N_OUTPUTS:
        raise RuntimeError(f"{n_due} outputs are due")
    return str(queue.pk)


def _sign_in(queue: str, port: int) -> Evaluator:
    """Make an evaluator with a session as the sign-in page makes it, and return what their browser holds."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore
    from django.middleware.csrf import _get_new_csrf_string

    from tests.accounts.factories import UserFactory

    user = UserFactory(role="evaluator", email=f"{uuid.uuid4().hex}@example.com")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "accounts.backends.RoleBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    token = _get_new_csrf_string()
    cookies = f"sessionid={session.session_key}; csrftoken={token}"
    return Evaluator(cookies=cookies, csrf_token=token, queue=queue, port=port)


if __name__ == "__main__":
    main()
