"""Results wait at the provider while free places are filled, and never come too many at once."""

from __future__ import annotations

import asyncio

from generations.engine.fetching import (
    FEW_WAITING,
    MAX_AT_ONCE,
    MAX_WHILE_REFILLING,
    REFILLING_SECONDS,
    FetchGate,
    Refill,
)


async def _enter_many(gate: FetchGate, n: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(gate.enter()) for _ in range(n)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def _count_inside(tasks: list[asyncio.Task[None]]) -> int:
    return sum(task.done() for task in tasks)


async def test_no_more_results_come_at_once_than_fit_in_memory() -> None:
    gate = FetchGate(Refill())
    tasks = await _enter_many(gate, MAX_AT_ONCE + 3)

    assert _count_inside(tasks) == MAX_AT_ONCE
    gate.leave()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert _count_inside(tasks) == MAX_AT_ONCE + 1

    for task in tasks:
        task.cancel()


async def test_of_few_results_some_come_while_places_are_filled_and_all_soon_after() -> None:
    refill = Refill()
    refill.move()
    tasks = await _enter_many(FetchGate(refill), FEW_WAITING)

    assert _count_inside(tasks) == MAX_WHILE_REFILLING
    await asyncio.wait(tasks, timeout=20 * REFILLING_SECONDS)
    assert _count_inside(tasks) == FEW_WAITING


async def test_of_many_results_no_more_come_while_places_are_filled_and_all_soon_after() -> None:
    refill = Refill()
    refill.move()
    gate = FetchGate(refill)
    tasks = await _enter_many(gate, MAX_AT_ONCE)
    begun = _count_inside(tasks)
    for _ in range(begun):
        gate.leave()
    await asyncio.sleep(0)

    assert begun == MAX_WHILE_REFILLING
    assert _count_inside(tasks) == begun
    await asyncio.wait(tasks, timeout=20 * REFILLING_SECONDS)
    assert _count_inside(tasks) == MAX_AT_ONCE


async def test_results_come_at_once_when_nothing_is_left_to_fill_places_with() -> None:
    refill = Refill()
    refill.expects_more = False
    refill.move()

    assert _count_inside(await _enter_many(FetchGate(refill), MAX_AT_ONCE)) == MAX_AT_ONCE


async def test_one_who_gives_up_waiting_takes_no_place() -> None:
    gate = FetchGate(Refill())
    inside = await _enter_many(gate, MAX_AT_ONCE)
    given_up, waiting = await _enter_many(gate, 2)
    given_up.cancel()
    gate.leave()
    await asyncio.wait([waiting], timeout=5)

    assert waiting.done()
    assert not waiting.cancelled()
    assert _count_inside(inside) == MAX_AT_ONCE


async def test_one_who_gives_up_just_as_let_in_hands_the_place_on() -> None:
    gate = FetchGate(Refill())
    await _enter_many(gate, MAX_AT_ONCE)
    given_up, waiting = await _enter_many(gate, 2)
    gate.leave()
    given_up.cancel()
    await asyncio.wait([waiting], timeout=5)

    assert waiting.done()
    assert not waiting.cancelled()
