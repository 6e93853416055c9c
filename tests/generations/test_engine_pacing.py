"""Jobs are asked for about when they end, whether they run for a second or for an hour."""

from __future__ import annotations

from random import Random

import pytest

from generations.engine.pacing import AGE_SHARE, LONGEST_SECONDS, SOONEST_SECONDS, Pace


def _follow(pace: Pace, *, length: float, is_scout: bool = False) -> tuple[float, int]:
    """Ask for a job of this length; return how late its end was found and how many questions that took."""
    age = running = 0.0
    n_questions = 0
    is_measured = pace.choose_measured()
    while True:
        age += pace.get_pause_seconds(
            age_seconds=age, asked_seconds=running, is_scout=is_scout, is_measured=is_measured
        )
        n_questions += 1
        if age >= length:
            if is_measured or pace.usual_seconds is None:
                pace.learn(running_seconds=running, ended_seconds=age)
            return age - length, n_questions
        running = age


@pytest.mark.parametrize("length", [0.2, 1.0, 5.0, 30.0, 240.0])
def test_ends_are_found_soon_and_by_few_questions_once_their_time_is_known(length: float) -> None:
    pace = Pace()
    _follow(pace, length=length, is_scout=True)

    followed = [_follow(pace, length=length) for _ in range(400)][200:]

    assert max(late for late, _ in followed) <= max(SOONEST_SECONDS, AGE_SHARE * length)
    assert sum(n_questions for _, n_questions in followed) / len(followed) <= 1.5


def test_most_ends_of_jobs_that_differ_are_found_soon() -> None:
    pace, lengths = Pace(), Random(1)
    followed = [_follow(pace, length=lengths.uniform(4.0, 8.0), is_scout=True) for _ in range(400)][100:]

    late = sorted(late for late, _ in followed)
    assert late[4 * len(late) // 5] <= AGE_SHARE * 8.0
    assert sum(n_questions for _, n_questions in followed) / len(followed) <= 8


def test_only_scouts_ask_before_anybody_knows() -> None:
    pace = Pace()

    def get_pause(*, is_scout: bool) -> float:
        return pace.get_pause_seconds(
            age_seconds=0.0, asked_seconds=0.0, is_scout=is_scout, is_measured=False
        )

    assert get_pause(is_scout=False) == LONGEST_SECONDS
    assert get_pause(is_scout=True) < 1


def test_a_job_past_its_usual_end_is_asked_for_at_once_if_it_never_was() -> None:
    pace = Pace()
    pace.learn(running_seconds=4.0, ended_seconds=5.0)

    def get_pause(asked_seconds: float) -> float:
        return pace.get_pause_seconds(
            age_seconds=5.5, asked_seconds=asked_seconds, is_scout=False, is_measured=False
        )

    assert get_pause(0.0) == 0
    assert get_pause(5.4) == pytest.approx(0.2)


def test_jobs_that_were_found_late_are_asked_for_earlier_the_next_time() -> None:
    pace = Pace()
    pace.learn(running_seconds=0.0, ended_seconds=8.0)

    late = [_follow(pace, length=5.0)[0] for _ in range(200)]

    assert late[-1] <= SOONEST_SECONDS


def test_one_quick_job_among_many_does_not_set_the_pace() -> None:
    pace = Pace()
    for length in [20.0] * 79 + [0.5] + [20.0] * 40:
        _follow(pace, length=length)

    assert (pace.usual_seconds or 0.0) > 15


def test_the_pace_follows_jobs_that_have_become_longer() -> None:
    pace = Pace()
    followed = [_follow(pace, length=length) for length in [2.0] * 100 + [40.0] * 500]

    late, n_questions = followed[-1]
    assert late <= 40 * AGE_SHARE
    assert n_questions <= 4


def test_the_pace_follows_jobs_that_have_become_shorter() -> None:
    pace = Pace()
    followed = [_follow(pace, length=length) for length in [40.0] * 100 + [2.0] * 800]

    assert followed[-1][0] <= SOONEST_SECONDS
