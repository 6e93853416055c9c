"""What is judged and on which scale; a scale never changes, a new one takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from django.db import transaction
from django.db.models import Max

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from evaluations.models import Criterion, Scale, ScaleLevel
from evaluations.services.standing import OVERALL
from mayagen.common.errors import DomainError

STANDARD_LEVELS: Final = (1, 2, 3, 4, 5)
_MOST_LEVELS: Final = 9
_FEWEST_LEVELS: Final = 2


@dataclass(frozen=True, slots=True)
class NewLevel:
    """One level of a scale that is being made."""

    level: int
    name: str
    description: str = ""


class ScaleInvalidError(DomainError):
    """The levels make no scale."""

    code = "scale_invalid"
    sentence = "A scale has two to nine levels, numbered from 1 without a gap, each with a name of its own."


class CriterionExistsError(DomainError):
    """Another criterion has that slug."""

    code = "criterion_exists"
    sentence = "There is a criterion of that slug already."


@transaction.atomic
def create_criterion(
    *, actor: User, slug: str, name: str, description: str = "", levels: Sequence[NewLevel]
) -> Criterion:
    """Make a criterion with its first scale.

    Raises:
        PermissionDeniedError: The actor's role does not allow it.
        CriterionExistsError: The slug is taken.
        ScaleInvalidError: The levels make no scale.
    """
    require(actor, "evaluations.add_criterion")
    if Criterion.objects.filter(slug=slug).exists():
        raise CriterionExistsError(fields={"slug": [CriterionExistsError.sentence]})
    criterion = Criterion(slug=slug, name=name, description=description)
    criterion.full_clean()
    criterion.save(force_insert=True)
    _write_scale(criterion, levels, number=1)
    audit.record(
        actor=actor,
        verb="create_criterion",
        target=criterion,
        after={"slug": slug, "name": name, "levels": [asdict(level) for level in levels]},
    )
    return criterion


@transaction.atomic
def change_criterion(
    *, actor: User, criterion: Criterion, name: str, description: str, is_active: bool
) -> Criterion:
    """Change how a criterion is worded and whether new queues may use it.

    Raises:
        PermissionDeniedError: The actor's role does not allow it.
    """
    require(actor, "evaluations.change_criterion")
    stored = Criterion.objects.select_for_update().get(pk=criterion.pk)
    before = {"name": stored.name, "description": stored.description, "is_active": stored.is_active}
    after = {"name": name, "description": description, "is_active": is_active}
    if before == after:
        return stored
    stored.name, stored.description, stored.is_active = name, description, is_active
    stored.full_clean()
    stored.save(update_fields=["name", "description", "is_active"])
    audit.record(actor=actor, verb="change_criterion", target=stored, before=before, after=after)
    return stored


@transaction.atomic
def create_scale(*, actor: User, criterion: Criterion, levels: Sequence[NewLevel]) -> Scale:
    """Make the scale that new ratings of a criterion use; earlier ratings keep theirs.

    Raises:
        PermissionDeniedError: The actor's role does not allow it.
        ScaleInvalidError: The levels make no scale, or are not 1 to 5 where the consensus needs that.
    """
    require(actor, "evaluations.change_criterion")
    Criterion.objects.select_for_update().get(pk=criterion.pk)
    last = Scale.objects.filter(criterion=criterion).aggregate(n=Max("number"))["n"] or 0
    scale = _write_scale(criterion, levels, number=last + 1)
    audit.record(
        actor=actor,
        verb="create_scale",
        target=scale,
        after={"number": scale.number, "levels": [asdict(level) for level in levels]},
    )
    return scale


def _write_scale(criterion: Criterion, levels: Sequence[NewLevel], *, number: int) -> Scale:
    ordered = sorted(levels, key=lambda each: each.level)
    numbers = tuple(each.level for each in ordered)
    names = {each.name.strip().lower() for each in ordered}
    is_scale = numbers == tuple(range(1, len(ordered) + 1)) and len(names) == len(ordered) and "" not in names
    if not is_scale or not _FEWEST_LEVELS <= len(ordered) <= _MOST_LEVELS:
        raise ScaleInvalidError(fields={"levels": [ScaleInvalidError.sentence]})
    if criterion.slug == OVERALL and numbers != STANDARD_LEVELS:
        sentence = "The overall criterion keeps the levels 1 to 5: every consensus is a mean of them."
        raise ScaleInvalidError(sentence, fields={"levels": [sentence]})
    scale = Scale.objects.create(criterion=criterion, number=number)
    rows = [
        ScaleLevel(scale=scale, level=each.level, name=each.name.strip(), description=each.description)
        for each in ordered
    ]
    for row in rows:
        row.clean_fields()
    ScaleLevel.objects.bulk_create(rows)
    return scale
