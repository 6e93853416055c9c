"""A cluster that looks alive and works no more is found; one that only waits or works long is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django_q.status import Stat

from mayagen.cluster_watch import Beat, ClusterWatch

IDLE = Beat(n_waiting=0, worker_ids=(11, 12), cpu_ticks=40)
STUCK = Beat(n_waiting=2, worker_ids=(11, 12), cpu_ticks=40)


def watch_for(beats: list[Beat | None], *, step_s: float = 5.0) -> list[str | None]:
    watch = ClusterWatch()
    watch.follow(11, now_s=0.0)
    return [watch.judge(beat, now_s=step_s * (n + 1)) for n, beat in enumerate(beats)]


def test_an_idle_cluster_has_no_fault() -> None:
    assert watch_for([IDLE] * 100) == [None] * 100


def test_a_cluster_without_a_heartbeat_for_a_minute_has_a_fault() -> None:
    faults = watch_for([IDLE, *[None] * 13])

    assert faults[:13] == [None] * 13
    assert faults[13] is not None
    assert "heartbeat" in faults[13]


def test_a_heartbeat_missed_now_and_then_is_no_fault() -> None:
    assert watch_for([IDLE, None, None, None] * 20) == [None] * 80


def test_waiting_tasks_beside_sleeping_workers_are_a_fault() -> None:
    faults = watch_for([STUCK] * 20)

    assert faults[:6] == [None] * 6
    assert faults[7] is not None
    assert "workers sleep" in faults[7]


def test_more_and_more_waiting_tasks_beside_sleeping_workers_are_no_work() -> None:
    faults = watch_for([replace(STUCK, n_waiting=2 + n) for n in range(20)])

    assert faults[7] is not None
    assert "workers sleep" in faults[7]


@pytest.mark.parametrize("changing", ["n_waiting", "worker_ids", "cpu_ticks"])
def test_waiting_tasks_are_no_fault_while_anything_moves(changing: str) -> None:
    beats: list[Beat | None] = [
        Beat(
            n_waiting=2 + (n % 2 if changing == "n_waiting" else 0),
            worker_ids=(11, 12 + (n if changing == "worker_ids" else 0)),
            cpu_ticks=40 + (n if changing == "cpu_ticks" else 0),
        )
        for n in range(60)
    ]

    assert watch_for(beats) == [None] * 60


def test_a_cluster_started_again_is_judged_anew() -> None:
    watch = ClusterWatch()
    watch.follow(11, now_s=0.0)
    watch.judge(STUCK, now_s=85.0)

    watch.follow(21, now_s=86.0)

    assert watch.judge(STUCK, now_s=100.0) is None


def test_a_broker_that_does_not_answer_tells_nothing_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise ConnectionError

    monkeypatch.setattr(Stat, "get_all", refuse)

    assert ClusterWatch().find_fault(11) is None
