"""When a job is worth asking for, learned from jobs of its model whose length was measured."""

from __future__ import annotations

from collections import deque
from typing import Final

SCOUTING_SECONDS: Final = 0.3
SCOUTING_SHARE: Final = 0.05
SOONEST_SECONDS: Final = 0.3
AGE_SHARE: Final = 0.05
LONGEST_SECONDS: Final = 10.0
N_REMEMBERED: Final = 24
N_MEASURED_FIRST: Final = 8
MEASURED_EVERY: Final = 16
EARLY: Final = 0.97
MUCH_EARLIER: Final = 0.9
LATE: Final = 1.01
FEW: Final = 20
FINE_SECONDS: Final = 0.05
FINE_SHARE: Final = 0.01
FINE_FROM: Final = 0.9
FINE_UNTIL: Final = 1.05


class Pace:
    """How long jobs of one model run at least, and so when the first question may find one ended.

    One job in sixteen is measured: it is asked for a little too early, and again at short intervals. By what
    these tell, each other job is asked for when the shortest ones have only just ended, and then again within
    a twentieth of its age, however long jobs run. Only what was measured counts: of a job that has ended when
    it is first asked for, nobody knows how long ago it did.
    """

    def __init__(self) -> None:
        self._lengths: deque[float] = deque(maxlen=N_REMEMBERED)
        self._usual: float | None = None
        self._early = 0.0
        self._n_jobs = 0

    @property
    def usual_seconds(self) -> float | None:
        """What nineteen of twenty jobs take at least; None before any has ended."""
        return self._usual

    def choose_measured(self) -> bool:
        """Return whether the next job is one to be measured."""
        self._n_jobs += 1
        return self._n_jobs <= N_MEASURED_FIRST or self._n_jobs % MEASURED_EVERY == 0

    def learn(self, *, running_seconds: float, ended_seconds: float) -> None:
        """Take in a measured job that ended.

        Args:
            running_seconds: Its age when it was last found running; 0 when it never was. Then it may have
                ended long before it was asked for, and the next to be measured are asked for earlier.
            ended_seconds: Its age when it was found ended.
        """
        self._lengths.append(ended_seconds)
        lengths = sorted(self._lengths)
        # Where all jobs take about as long, a hundredth may be later than most of them end.
        self._usual = min(LATE * lengths[len(lengths) // FEW], lengths[len(lengths) // 2])
        if running_seconds or not self._early:
            self._early = EARLY * min(self._lengths)
        else:
            self._early = min(self._early, MUCH_EARLIER * ended_seconds)

    def get_pause_seconds(
        self, *, age_seconds: float, asked_seconds: float, is_scout: bool, is_measured: bool
    ) -> float:
        """Return how long to wait before the next question; 0 when it is due already.

        Args:
            age_seconds: The job's age.
            asked_seconds: Its age when it was last asked for; 0 when it never was.
            is_scout: Whether this job is to find out how long jobs take, while nobody knows.
            is_measured: Whether its length is to be found out.
        """
        if self._usual is None:
            often = min(LONGEST_SECONDS, max(SCOUTING_SECONDS, SCOUTING_SHARE * age_seconds))
            return often if is_scout else LONGEST_SECONDS
        at_seconds = self._get_next_seconds(self._usual, asked_seconds, is_measured=is_measured)
        return max(0.0, at_seconds - age_seconds)

    def _get_next_seconds(self, usual: float, asked: float, *, is_measured: bool) -> float:
        """Return at which age of the job it is asked for next."""
        first = self._early if is_measured else usual
        if not asked:
            return first
        if is_measured and FINE_FROM * usual <= asked < FINE_UNTIL * usual:
            return asked + max(FINE_SECONDS, FINE_SHARE * asked)
        if asked < first:
            return max(first, asked + SOONEST_SECONDS)
        return asked + min(LONGEST_SECONDS, max(SOONEST_SECONDS, AGE_SHARE * asked))
