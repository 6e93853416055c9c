"""Statements for many rows at once, past what Django's own do for each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F, Model
from django.db.models.functions import Now
from django.utils import timezone

from generations.choices import AttemptState
from generations.models import Attempt, Generation, OutputImage
from mayagen.common.ids import uuid7
from mayagen.common.statements import IsAmong, KeptStatement, insert_each, to_uuid, update_each
from tests.generations.factories import AttemptFactory, GenerationFactory, OutputImageFactory

pytestmark = pytest.mark.django_db
AWKWARD = "\"quoted\" 'twice' {a,b} \\n \\\\ %s é 画 🖼 \n\t"


def _build_known(attempts: uuid.UUID) -> Any:
    return Attempt.objects.filter(IsAmong("id", attempts)).order_by("number").values_list("id", "number")


def _read(row: Model) -> dict[str, Any]:
    row.refresh_from_db()
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_rows_get_their_own_values_and_those_that_are_alike() -> None:
    attempts: Sequence[Attempt] = AttemptFactory.create_batch(
        3, state=AttemptState.SUBMITTED, answered_at=None, fence=4
    )
    *changed, other = attempts
    metadata = {"text": AWKWARD, "list": [1, 2.5, None, True], "deep": {"a": {}}}

    update_each(
        Attempt,
        {
            attempt.pk: {
                "duration_ms": number,
                "cost_usd": Decimal("0.040001") if number else None,
                "provider_request_id": AWKWARD,
                "provider_metadata": {**metadata, "number": number},
            }
            for number, attempt in enumerate(changed)
        },
        state=AttemptState.SUCCEEDED,
        fence=F("fence") + 1,
        answered_at=Now(),
        worker=AWKWARD,
    )

    for number, attempt in enumerate(changed):
        attempt.refresh_from_db()
        assert (attempt.duration_ms, attempt.fence, attempt.state) == (number, 5, AttemptState.SUCCEEDED)
        assert attempt.cost_usd == (Decimal("0.040001") if number else None)
        assert attempt.provider_request_id == attempt.worker == AWKWARD
        assert attempt.provider_metadata == {**metadata, "number": number}
        assert attempt.answered_at is not None
    other.refresh_from_db()
    assert (other.fence, other.answered_at, other.worker) == (4, None, "")


def test_rows_may_get_nothing_but_what_is_alike() -> None:
    first, second = GenerationFactory.create_batch(2, n_attempts=2)

    update_each(Generation, {first.pk: {}}, n_attempts=F("n_attempts") + 1, started_at=Now())

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.n_attempts, second.n_attempts) == (3, 2)
    assert first.started_at is not None
    assert second.started_at is None


def test_names_of_files_and_large_numbers_are_kept() -> None:
    image = OutputImageFactory()

    update_each(
        OutputImage, {image.pk: {"blind": "blind/a b.jpg", "perceptual_hash": -(2**63), "rating": Decimal(3)}}
    )

    image.refresh_from_db()
    assert (str(image.blind), image.perceptual_hash, image.rating) == ("blind/a b.jpg", -(2**63), Decimal(3))


def test_inserted_rows_are_what_saving_them_one_by_one_would_make() -> None:
    saved = AttemptFactory(
        provider_metadata={"text": AWKWARD}, cost_usd=Decimal("1.5"), job_ended_at=timezone.now()
    )
    image = OutputImageFactory(rating=Decimal("4.25"), is_near_duplicate=True)
    # One with its names as they were given, one with the objects that Django makes of them.
    for row, others in ((saved, {"number": 2, "idempotency_key": AWKWARD}), (image, {"position": 7})):
        values = {**_read(row), "id": uuid7(), **others}
        insert_each([type(row)(**values)])
        assert _read(type(row).objects.get(pk=values["id"])) == values


def test_what_the_database_refuses_is_refused() -> None:
    known = AttemptFactory()
    fresh = Attempt(
        generation_id=known.generation_id,
        image_model_id=known.image_model_id,
        number=known.number,
        fence=1,
        idempotency_key="fresh",
    )

    with pytest.raises(IntegrityError), transaction.atomic():
        insert_each([fresh])

    assert Attempt.objects.get() == known


def test_nothing_to_write_takes_no_statement(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        update_each(Attempt, {}, state=AttemptState.SUCCEEDED)
        insert_each([])


def test_one_kept_statement_serves_any_number_of_ids() -> None:
    generation = GenerationFactory(completed=True, outputs=None)
    attempts = AttemptFactory.create_batch(3, generation=generation)
    known = KeptStatement(_build_known, "attempts")

    for n in (2, 0, 3, 1):
        rows = known.run(attempts=[attempt.pk for attempt in attempts[:n]])
        assert [(to_uuid(row_id), number) for row_id, number in rows] == [
            (attempt.pk, attempt.number) for attempt in attempts[:n]
        ]
