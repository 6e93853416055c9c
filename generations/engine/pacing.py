"""When a job is worth asking for, learned from the jobs of its model that have ended."""

from __future__ import annotations

from collections import deque
from typing import Final

SCOUTING_SECONDS: Final = 0.5
SCOUTING_SHARE: Final = 0.15
SOONEST_SECONDS: Final = 0.3
AGE_SHARE: Final = 0.05
LONGEST_SECONDS: Final = 10.0
N_REMEMBERED: Final = 50
EXPLORING: Final = 0.97


class Pace:
    """How long jobs of one model run at least, and so when the next question may find one ended.

    Every question but the first ones comes within a twentieth of the job's age after its end, however long
    jobs run, and no job is asked for before the shortest ones usually end.
    """

    def __init__(self) -> None:
        self._lengths: deque[float] = deque(maxlen=N_REMEMBERED)

    @property
    def usual_seconds(self) -> float | None:
        """What nine of ten jobs took at least; None before any has ended."""
        return sorted(self._lengths)[len(self._lengths) // 10] if self._lengths else None

    def learn(self, *, running_seconds: float, ended_seconds: float) -> None:
        """Take in a job that ended.

        Args:
            running_seconds: Its age when it was last found running; 0 when it never was. Then it may have
                ended long before it was asked for, and the next ones are asked for a little earlier.
            ended_seconds: Its age when it was found ended.
        """
        usual = self.usual_seconds
        if running_seconds:
            self._lengths.append((running_seconds + ended_seconds) / 2)
        elif usual is None or EXPLORING * ended_seconds < usual:
            self._lengths.append(EXPLORING * ended_seconds)

    def get_pause_seconds(self, *, age_seconds: float, asked_seconds: float, is_scout: bool) -> float:
        """Return how long to wait before the next question; 0 when it is due already.

        Args:
            age_seconds: The job's age.
            asked_seconds: Its age when it was last asked for; 0 when it never was.
            is_scout: Whether this job is to find out how long jobs take, while nobody knows.
        """
        usual = self.usual_seconds
        if usual is None:
            often = min(LONGEST_SECONDS, max(SCOUTING_SECONDS, SCOUTING_SHARE * age_seconds))
            return often if is_scout else LONGEST_SECONDS
        if asked_seconds < usual:
            soonest = asked_seconds + SOONEST_SECONDS if asked_seconds else 0.0
            return max(0.0, usual - age_seconds, soonest - age_seconds)
        pause = min(LONGEST_SECONDS, max(SOONEST_SECONDS, AGE_SHARE * asked_seconds))
        return max(0.0, asked_seconds + pause - age_seconds)
