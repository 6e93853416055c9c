"""Keep what follows from ratings in step with them: revisions, the consensus and the tallies.

Everything here runs inside the transaction of a verb that has locked the rated generation.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from django.db import connection
from django.db.models import F, QuerySet
from django.utils import timezone

from evaluations.assignment.items import CriterionFacts, LevelFacts
from evaluations.choices import RaterKind
from evaluations.models import Rating, RatingTally
from evaluations.querysets import RatingQuerySet
from evaluations.selectors import round_mean
from generations.services import consensus
from mayagen.common.statements import (
    KeptStatement,
    Statement,
    fetch,
    read_and_write,
    run_each,
    to_parameter,
    to_uuid,
    write_insert,
)

OVERALL: Final = "overall"
"""The criterion whose ratings make the consensus."""


def _list_counted_of_outputs(*, generation: uuid.UUID, criterion: uuid.UUID) -> QuerySet[Any, Any]:
    counted = Rating.objects.counted().filter(output_image__generation=generation, criterion=criterion)
    return counted.values_list("output_image", "level")


def _list_counted_of_input(*, image: uuid.UUID, criterion: uuid.UUID) -> QuerySet[Any, Any]:
    counted = Rating.objects.counted().filter(input_image=image, criterion=criterion)
    return counted.values_list("input_image", "level")


_COUNTED_OF_OUTPUTS: Final = KeptStatement(_list_counted_of_outputs, "generation", "criterion")
_COUNTED_OF_INPUT: Final = KeptStatement(_list_counted_of_input, "image", "criterion")


@dataclass(frozen=True, slots=True)
class RatedImage:
    """What is rated: one output or one input of a generation."""

    generation_id: uuid.UUID
    prompt_version_id: uuid.UUID
    output_image_id: uuid.UUID | None = None
    input_image_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a rating came about; the defaults are those of a rating given openly, outside of queues."""

    queue_id: uuid.UUID | None = None
    assignment_id: uuid.UUID | None = None
    is_blind: bool = False
    is_surplus: bool = False
    exclusion_reason: str = ""
    shown_at: datetime | None = None
    decided_ms: int | None = None

    def as_fields(self) -> dict[str, Any]:
        """Return the values of a rating's fields."""
        return {
            "queue_id": self.queue_id,
            "assignment_id": self.assignment_id,
            "is_blind": self.is_blind,
            "is_surplus": self.is_surplus,
            "is_excluded": bool(self.exclusion_reason),
            "exclusion_reason": self.exclusion_reason,
            "shown_at": self.shown_at,
            "decided_ms": self.decided_ms,
        }


class TallyKey(NamedTuple):
    """What a tally counts."""

    prompt_version_id: uuid.UUID
    criterion_id: uuid.UUID
    scale_id: uuid.UUID
    level: int
    is_blind: bool
    rated_on: date


def record_rating(
    *,
    image: RatedImage,
    rater_id: uuid.UUID,
    criterion: CriterionFacts,
    level: LevelFacts,
    note: str,
    is_flagged: bool,
    last_revision: int,
    provenance: Provenance,
    along: Sequence[Statement] = (),
) -> Rating:
    """Write a rating, ending the rater's standing one of the same image and criterion if there is one.

    Args:
        image: Its generation is locked by the caller.
        last_revision: Number of the rater's newest rating of the image and criterion; 0 when there is none.
        along: Further writes, made in the same round trip.

    Raises:
        IntegrityError: The rater has another standing rating, written since the caller looked.
    """
    tallies: Counter[TallyKey] = Counter()
    if last_revision:
        earlier = _of_image(image).standing().filter(criterion=criterion.id, rater=rater_id).first()
        if earlier is not None:
            _end(earlier, tallies)
    rating = Rating(
        output_image_id=image.output_image_id,
        input_image_id=image.input_image_id,
        prompt_version_id=image.prompt_version_id,
        criterion_id=criterion.id,
        scale_id=criterion.scale_id,
        scale_level_id=level.id,
        level=level.level,
        rater_id=rater_id,
        note=note,
        is_flagged=is_flagged,
        revision=last_revision + 1,
        **provenance.as_fields(),
    )
    counted = read_and_write(_ask_counted(image, criterion.id), [*along, write_insert(rating)])
    if _is_counted(rating):
        tallies[_key(rating)] += 1
        counted.append((image.output_image_id or image.input_image_id, rating.level))
    _settle(image, criterion.slug, counted, tallies)
    return rating


def withdraw_rating(*, rating: Rating, image: RatedImage) -> None:
    """End a standing rating without another in its place."""
    tallies: Counter[TallyKey] = Counter()
    _end(rating, tallies)
    _settle(image, rating.criterion.slug, _read_counted(image, rating.criterion_id), tallies)


def stop_counting(*, rating: Rating, image: RatedImage, reason: str) -> None:
    """Keep a standing rating out of the consensus, the tallies and every analysis from now on."""
    tallies: Counter[TallyKey] = Counter()
    if _is_counted(rating):
        tallies[_key(rating)] -= 1
    Rating.objects.filter(pk=rating.pk).update(is_excluded=True, exclusion_reason=reason)
    _settle(image, rating.criterion.slug, _read_counted(image, rating.criterion_id), tallies)


def add_to_tallies(changes: Mapping[TallyKey, int]) -> None:
    """Add to each tally, in one order for all, so that two transactions never wait for each other."""
    for key, n in sorted(changes.items()):
        if n > 0:
            run_each([_write_increase(key, n)])
        elif n < 0:
            RatingTally.objects.filter(**key._asdict()).update(n_ratings=F("n_ratings") + n)


def _write_increase(key: TallyKey, n: int) -> Statement:
    table = connection.ops.quote_name(RatingTally._meta.db_table)
    columns = ", ".join(TallyKey._fields)
    values = [to_parameter(part) if isinstance(part, uuid.UUID) else part for part in key]
    return Statement(
        f"INSERT INTO {table} ({columns}, n_ratings) VALUES (%s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
        f" ON CONFLICT ({columns}) DO UPDATE SET n_ratings = {table}.n_ratings + EXCLUDED.n_ratings",
        [*values, n],
    )


def _is_counted(rating: Rating) -> bool:
    is_set_aside = rating.is_gold or rating.is_surplus or rating.is_excluded
    return rating.is_standing and rating.rater_kind == RaterKind.PERSON and not is_set_aside


def _end(rating: Rating, tallies: Counter[TallyKey]) -> None:
    if _is_counted(rating):
        tallies[_key(rating)] -= 1
    Rating.objects.filter(pk=rating.pk).update(is_standing=False, ended_at=timezone.now())


def _key(rating: Rating) -> TallyKey:
    return TallyKey(
        rating.prompt_version_id,
        rating.criterion_id,
        rating.scale_id,
        rating.level,
        rating.is_blind,
        rating.created_at.date(),
    )


def _of_image(image: RatedImage) -> RatingQuerySet:
    if image.output_image_id is not None:
        return Rating.objects.filter(output_image=image.output_image_id)
    return Rating.objects.filter(input_image=image.input_image_id)


def _ask_counted(image: RatedImage, criterion_id: uuid.UUID) -> Statement:
    """Return what reads image and level of each counted rating that the consensus is made from."""
    if image.input_image_id is not None:
        return _COUNTED_OF_INPUT.write(image=image.input_image_id, criterion=criterion_id)
    return _COUNTED_OF_OUTPUTS.write(generation=image.generation_id, criterion=criterion_id)


def _read_counted(image: RatedImage, criterion_id: uuid.UUID) -> list[tuple[Any, ...]]:
    statement = _ask_counted(image, criterion_id)
    return fetch(statement.text, statement.parameters)


def _settle(
    image: RatedImage,
    criterion_slug: str,
    counted: Sequence[tuple[Any, ...]],
    tallies: Counter[TallyKey],
) -> None:
    """Write consensus and tallies; the tallies come last, since many people's ratings share one."""
    changes = {key: n for key, n in tallies.items() if n} if image.output_image_id is not None else {}
    along = []
    if criterion_slug == OVERALL and len(changes) == 1:
        [(key, n)] = changes.items()
        if n > 0:
            along, changes = [_write_increase(key, n)], {}
    if criterion_slug == OVERALL:
        _set_consensus(image, counted, along)
    add_to_tallies(changes)


def _set_consensus(image: RatedImage, counted: Sequence[tuple[Any, ...]], along: Sequence[Statement]) -> None:
    levels = [level for _, level in counted]
    overall = round_mean(sum(levels), len(levels))
    if image.input_image_id is not None:
        consensus.set_input_rating(input_image_id=image.input_image_id, rating=overall)
        return
    assert image.output_image_id is not None  # noqa: S101 - an image is one of the two
    of_output = [level for output_id, level in counted if to_uuid(output_id) == image.output_image_id]
    consensus.set_consensus(
        output_image_id=image.output_image_id,
        output_rating=round_mean(sum(of_output), len(of_output)),
        generation_rating=overall,
        along=along,
    )
