"""People who rate over HTTP while everything fails, and keep account of what they were told has been kept."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from accounts.models import User

N_RATERS: Final = 3
OVERLAP: Final = 2
PAUSE_SECONDS: Final = 0.3
AGAIN_SECONDS: Final = 0.3
ANSWER_SECONDS: Final = 10.0
# How long an answer is still waited for at the end.
PATIENCE_SECONDS: Final = 30.0
REVISED_SHARE: Final = 0.15
WITHDRAWN_SHARE: Final = 0.05


@dataclass(slots=True)
class Account:
    """What one person was told.

    Args:
        levels: By assignment the level that was acknowledged last; None once it was withdrawn.
        unsettled: Assignments of which the last call had no answer to the end.
        refused: What was answered with anything but success or a failure of the server.
        n_repeated: Calls made again because there was no answer, or a failure.
    """

    levels: dict[str, int | None] = field(default_factory=dict)
    unsettled: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    n_acknowledged: int = 0
    n_repeated: int = 0


class _GaveUpError(Exception):
    """There was no answer to the end."""


class Rater(threading.Thread):
    """One person with a token, who repeats each call until it is answered, as the review page does."""

    def __init__(self, port: int, queue: str, email: str, password: str, rng: Random) -> None:
        super().__init__(daemon=True, name=f"rater {email}")
        self.account = Account()
        self._port = port
        self._queue = queue
        self._credentials = {"email": email, "password": password}
        self._rng = rng
        self._ended = threading.Event()
        self._deadline = float("inf")
        self._connection: http.client.HTTPConnection | None = None
        self._token = ""

    def run(self) -> None:
        """Rate what there is until told to end."""
        try:
            self._token = self._call("auth/token/", self._credentials).get("access_token", "")
            while self._token and not self._ended.is_set():
                given = self._call(f"review-queues/{self._queue}/next/", {"count": 2})
                for assignment in given.get("assignments", ()):
                    self._work_on(assignment["id"])
                self._ended.wait(PAUSE_SECONDS)
        except _GaveUpError:
            return
        finally:
            self._hang_up()

    def stop(self) -> None:
        """Let the call that is under way be the last one."""
        self._deadline = time.monotonic() + PATIENCE_SECONDS
        self._ended.set()

    def _work_on(self, assignment: str) -> None:
        if self._ended.is_set():
            return
        self._rate(assignment)
        draw = self._rng.random()
        if draw < REVISED_SHARE:
            self._rate(self._rng.choice(list(self.account.levels)))
        elif draw < REVISED_SHARE + WITHDRAWN_SHARE:
            self._withdraw(assignment)
        self._ended.wait(PAUSE_SECONDS * self._rng.uniform(0.5, 1.5))

    def _rate(self, assignment: str) -> None:
        level = self._rng.randint(1, 5)
        body = {"level": level, "note": "", "flagged": False, "decided_ms": 400}
        self._change(assignment, "submit", body, level)

    def _withdraw(self, assignment: str) -> None:
        if self.account.levels.get(assignment) is not None:
            self._change(assignment, "clear", {}, None)

    def _change(self, assignment: str, verb: str, body: dict[str, Any], level: int | None) -> None:
        self.account.unsettled.add(assignment)
        n_refused = len(self.account.refused)
        self._call(f"assignments/{assignment}/{verb}/", body)
        self.account.unsettled.discard(assignment)
        if len(self.account.refused) == n_refused:
            self.account.levels[assignment] = level
            self.account.n_acknowledged += 1

    def _call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer, however often it must be asked for; nothing when the call is refused."""
        while True:
            try:
                status, content = self._send(path, body)
            except (OSError, http.client.HTTPException):
                self._hang_up()
                status, content = 0, b""
            if status == http.HTTPStatus.OK:
                answer: dict[str, Any] = json.loads(content)
                return answer
            if status and status < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                self.account.refused.append(f"{path} {status} {content[:200]!r}")
                return {}
            if time.monotonic() > self._deadline:
                raise _GaveUpError
            self.account.n_repeated += 1
            time.sleep(AGAIN_SECONDS)

    def _send(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        self._connection.request("POST", f"/api/v1/{path}", json.dumps(body), headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextmanager
def people_rating(
    *, actor: User, port: int, rng: Random, say: Callable[[str], None]
) -> Iterator[Sequence[Account]]:
    """Let people rate in a queue of their own for as long as this lasts, and give what they were told."""
    from evaluations.models import Criterion
    from evaluations.services.queues import create_queue
    from tests.accounts.factories import PASSWORD, UserFactory

    people = [UserFactory(role="evaluator") for _ in range(N_RATERS)]
    overall = Criterion.objects.get(slug="overall")
    queue = create_queue(actor=actor, name="Faults", criterion=overall, overlap=OVERLAP, evaluators=people)
    raters = [Rater(port, str(queue.pk), each.email, PASSWORD, Random(rng.random())) for each in people]
    for rater in raters:
        rater.start()
    try:
        yield [rater.account for rater in raters]
    finally:
        for rater in raters:
            rater.stop()
        for rater in raters:
            rater.join()
        n_repeated = sum(rater.account.n_repeated for rater in raters)
        say(f"rated {sum(rater.account.n_acknowledged for rater in raters)} times, {n_repeated} calls again")
