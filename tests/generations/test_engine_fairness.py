"""Nobody starves: lower priorities and other models get their share of what is claimed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from generations.choices import Priority
from generations.engine.claiming import claim_batch
from generations.engine.fairness import Turns, split
from generations.models import Generation
from tests.generations.engine_cases import make_due, make_model
from tests.providers.openai_server import OpenAIServer, running_server

ALL = [Priority.LOW, Priority.NORMAL, Priority.HIGH]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


def test_priorities_share_places_seven_two_one() -> None:
    assert Turns().share("model", ALL, 10) == {Priority.LOW: 1, Priority.NORMAL: 2, Priority.HIGH: 7}


def test_places_that_come_one_by_one_are_shared_the_same_and_high_comes_first() -> None:
    turns = Turns()

    order = [next(p for p, n in turns.share("model", ALL, 1).items() if n) for _ in range(100)]

    assert order[0] == Priority.HIGH
    assert Counter(order) == {Priority.LOW: 10, Priority.NORMAL: 20, Priority.HIGH: 70}


def test_a_priority_that_waits_alone_gets_everything() -> None:
    assert Turns().share("model", [Priority.LOW], 9) == {Priority.LOW: 9}


def test_models_take_turns_at_being_first() -> None:
    turns = Turns()

    assert [turns.order(["a", "b", "c"])[0] for _ in range(4)] == ["a", "b", "c", "a"]


def test_a_sharer_leaves_as_much_for_each_after_it() -> None:
    assert (split(10, 3), split(1, 5), split(7, 1)) == (4, 1, 7)


@pytest.mark.django_db
def test_low_work_is_claimed_beside_a_backlog_of_high_work(server: OpenAIServer, settings: Any) -> None:
    model = make_model(server, settings, max_in_flight=20)
    make_due(model, 30, priority=Priority.HIGH)
    make_due(model, 30, priority=Priority.LOW)

    claimed = claim_batch(worker="w", capacity=16)

    assert _count_priorities(claimed) == {Priority.HIGH: 14, Priority.LOW: 2}


@pytest.mark.django_db
def test_what_one_priority_leaves_the_others_take(server: OpenAIServer, settings: Any) -> None:
    model = make_model(server, settings, max_in_flight=20)
    make_due(model, 2, priority=Priority.HIGH)
    make_due(model, 30, priority=Priority.LOW)

    claimed = claim_batch(worker="w", capacity=16)

    assert _count_priorities(claimed) == {Priority.HIGH: 2, Priority.LOW: 14}


@pytest.mark.django_db
def test_one_models_backlog_leaves_room_for_the_others(server: OpenAIServer, settings: Any) -> None:
    models = [make_model(server, settings) for _ in range(3)]
    for model, n in zip(models, (40, 40, 2), strict=True):
        make_due(model, n)

    claimed = Counter(work.model.id for work in claim_batch(worker="w", capacity=20))

    assert claimed[models[2].id] == 2
    assert min(claimed[models[0].id], claimed[models[1].id]) >= 7


@pytest.mark.django_db
def test_single_places_go_to_models_in_turn(server: OpenAIServer, settings: Any) -> None:
    models = [make_model(server, settings) for _ in range(2)]
    for model in models:
        make_due(model, 10)
    turns = Turns()

    claimed = [claim_batch(worker="w", capacity=1, turns=turns)[0].model.id for _ in range(6)]

    assert Counter(claimed) == {models[0].id: 3, models[1].id: 3}


@pytest.mark.django_db
def test_calls_of_unrepeatable_kinds_are_held_in_small_numbers(server: OpenAIServer, settings: Any) -> None:
    make_due(make_model(server, settings), 10)
    repeatable = make_model(server, settings, repeats_unknown=True)
    make_due(repeatable, 10)

    claimed = claim_batch(worker="w", capacity=20, unkeyed_capacity=3)

    assert Counter(work.is_unkeyed for work in claimed) == {True: 3, False: 10}


def _count_priorities(works: list[Any]) -> Counter[int]:
    ids = [work.generation_id for work in works]
    return Counter(Generation.objects.filter(id__in=ids).values_list("priority", flat=True))
