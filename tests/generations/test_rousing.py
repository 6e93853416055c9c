"""Work that nobody looks after wakes the engine again; work that somebody does, or is about to, does not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from generations.models import Generation
from generations.services.rousing import PATIENCE, rouse_engine
from tests.generations.factories import GenerationFactory

pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = timedelta(hours=1)


def test_work_that_has_been_due_for_a_while_wakes_the_engine_once() -> None:
    GenerationFactory(due_at=timezone.now() - LONG_AGO)

    assert rouse_engine()
    assert not rouse_engine()
    assert OrmQ.objects.count() == 1


def test_a_lapsed_lease_wakes_the_engine() -> None:
    GenerationFactory(processing=True, lease_expires_at=timezone.now() - timedelta(seconds=1))

    assert rouse_engine()


def test_what_is_due_only_now_later_or_in_good_hands_is_left_alone() -> None:
    GenerationFactory(due_at=timezone.now())
    GenerationFactory(due_at=timezone.now() + LONG_AGO)
    GenerationFactory(processing=True)
    GenerationFactory(completed=True, outputs=None)
    assert Generation.objects.count() == 4
    assert timedelta(seconds=1) < PATIENCE

    assert not rouse_engine()
    assert not OrmQ.objects.exists()
