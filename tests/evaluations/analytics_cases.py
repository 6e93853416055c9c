"""Rated versions for the tests of analytics, and a recount of them in plain SQL."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from accounts.models import User
from evaluations.models import Rating, RatingTally
from evaluations.selectors import get_recount
from generations.models import Generation, OutputImage
from prompts.models import PromptVersion
from tests.accounts.factories import UserFactory
from tests.evaluations.factories import RatingFactory, get_overall
from tests.generations.factories import GenerationFactory, RunFactory
from tests.prompts.factories import PromptFactory, PromptVersionFactory

FIRST_DAY = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)


def make_versions(n: int, **fields: Any) -> list[PromptVersion]:
    """Return versions 1 to n of a new prompt."""
    prompt = PromptFactory(**fields)
    return [PromptVersionFactory(prompt=prompt, number=number) for number in range(1, n + 1)]


def rate(version: PromptVersion, levels: list[int], **fields: Any) -> None:
    """Rate outputs of a version, a new one for each level; consensus and tallies follow."""
    _rate(version, levels, **fields)
    tally()


def _rate(version: PromptVersion, levels: list[int], **fields: Any) -> None:
    rater = fields.pop("rater", None) or UserFactory(role="evaluator")
    run = fields.pop("run", None) or RunFactory()
    created_at = fields.pop("created_at", None)
    for level in levels:
        generation = GenerationFactory(completed=True, prompt_version=version, run=run)
        output = generation.outputs.get()
        when = {"created_at": created_at} if created_at else {}
        RatingFactory(output_image=output, level=level, rater=rater, **when, **fields)
        OutputImage.objects.filter(pk=output.pk).update(rating=level)
        Generation.objects.filter(pk=generation.pk).update(result_rating=level)


def tally() -> None:
    """Write the tallies anew from the ratings."""
    RatingTally.objects.all().delete()
    for key, n in get_recount().items():
        version, criterion, scale, level, is_blind, rated_on = key
        RatingTally.objects.create(
            prompt_version_id=version,
            criterion_id=criterion,
            scale_id=scale,
            level=level,
            is_blind=is_blind,
            rated_on=rated_on,
            n_ratings=n,
        )


def rate_at_random(versions: list[PromptVersion], rater: User, *, seed: int = 7) -> None:
    """Rate versions blind and openly over many days, some ratings excluded, surplus or withdrawn."""
    chance = random.Random(seed)
    run = RunFactory()
    for number in range(40):
        _rate(
            chance.choice(versions),
            [chance.randint(1, 5)],
            rater=rater,
            run=run,
            is_blind=number % 4 != 0,
            is_surplus=number % 11 == 5,
            is_excluded=number % 13 == 6,
            created_at=FIRST_DAY + timedelta(hours=11 * number),
        )
    ended = Rating.objects.order_by("-pk")[:3].values_list("pk", flat=True)
    Rating.objects.filter(pk__in=list(ended)).update(is_standing=False, ended_at=FIRST_DAY)
    tally()


def recount(
    *, blind: bool, where: str = "", parameters: tuple[Any, ...] = ()
) -> dict[uuid.UUID, Counter[int]]:
    """Return the counted ratings by version and level, by SQL over the rating rows themselves."""
    sql = f"""
        SELECT r.prompt_version_id, r.level, count(*)
        FROM evaluations_rating r
        JOIN generations_outputimage o ON o.id = r.output_image_id
        JOIN generations_generation g ON g.id = o.generation_id
        JOIN generations_run u ON u.id = g.run_id
        WHERE r.is_standing AND NOT r.is_excluded AND NOT r.is_surplus AND NOT r.is_gold
            AND r.rater_kind = 'person' AND r.criterion_id = %s AND r.is_blind = %s {where}
        GROUP BY r.prompt_version_id, r.level
    """  # noqa: S608 - constant text
    found: dict[uuid.UUID, Counter[int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [to_parameter(get_overall().pk), blind, *map(to_parameter, parameters)])
        for version_id, level, n in cursor.fetchall():
            found.setdefault(uuid.UUID(str(version_id)), Counter())[level] = n
    return found


def to_parameter(value: Any) -> Any:
    """Return a value as the database stores it."""
    if isinstance(value, uuid.UUID) and connection.vendor == "sqlite":
        return value.hex
    if isinstance(value, datetime) and connection.vendor == "sqlite":
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return value
