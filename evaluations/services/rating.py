"""Ratings given outside of queues, and ratings set aside."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from evaluations.assignment import leasing
from evaluations.assignment.items import CriterionFacts
from evaluations.models import Assignment, Criterion, Rating, Scale
from evaluations.querysets import RatingQuerySet
from evaluations.services import standing
from evaluations.services.reviewing import check_note, find_level
from evaluations.services.standing import Provenance, RatedImage
from generations.models import Generation, InputImage, OutputImage
from mayagen.common.errors import ConflictError, DomainError


class OutputAmbiguousError(DomainError):
    """The generation has several outputs, and none was named."""

    code = "output_ambiguous"
    sentence = "The generation has several outputs: name the one that is rated."


class NothingToRateError(DomainError):
    """The generation has no such image."""

    code = "nothing_to_rate"
    sentence = "The generation has no such image."


class AlreadyExcludedError(ConflictError):
    """The rating does not count already."""

    code = "already_excluded"
    sentence = "The rating is excluded already, or no longer stands."


@transaction.atomic
def rate_generation(
    *,
    actor: User,
    generation: Generation,
    level: int,
    note: str = "",
    output: OutputImage | None = None,
    input_image: InputImage | None = None,
) -> Rating:
    """Rate an output or an input openly, or revise one's rating of it.

    Args:
        output: May be omitted when the generation has one output.
        input_image: Rated in the output's stead.

    Raises:
        PermissionDeniedError: The actor may not rate outside of queues.
        OutputAmbiguousError: Several outputs, none named.
        NothingToRateError: The image is not the generation's.
        LevelOutsideScaleError: The scale has no such level.
        NoteTooLongError: The note is too long.
    """
    require(actor, "evaluations.add_rating")
    check_note(note)
    criterion = _get_overall()
    found = find_level(criterion, level)
    image = _find_image(generation, output, input_image)
    _lock(generation)
    own = _list_own(actor, image, criterion)
    last_revision = own.aggregate(n=Max("revision"))["n"] or 0
    rating = standing.record_rating(
        image=image,
        rater_id=actor.pk,
        criterion=criterion,
        level=found,
        note=note,
        is_flagged=False,
        last_revision=last_revision,
        provenance=Provenance(),
    )
    if image.output_image_id is not None:
        leasing.close_in_default_queue(image.output_image_id)
    return rating


@transaction.atomic
def withdraw_own_rating(
    *,
    actor: User,
    generation: Generation,
    output: OutputImage | None = None,
    input_image: InputImage | None = None,
) -> bool:
    """Withdraw the actor's own rating of an image; False when there was none.

    Raises:
        PermissionDeniedError: The actor may not rate outside of queues.
        OutputAmbiguousError: Several outputs, none named.
        NothingToRateError: The image is not the generation's.
    """
    require(actor, "evaluations.add_rating")
    image = _find_image(generation, output, input_image)
    _lock(generation)
    own = _list_own(actor, image, _get_overall()).standing().select_related("criterion").first()
    if own is None:
        return False
    standing.withdraw_rating(rating=own, image=image)
    return True


@transaction.atomic
def exclude_rating(*, actor: User, rating: Rating, reason: str) -> Rating:
    """Keep a rating but count it nowhere; its place in its queue is open again.

    Raises:
        PermissionDeniedError: The actor does not oversee ratings.
        DomainError: No reason was given.
        AlreadyExcludedError: It does not count already.
    """
    require(actor, "evaluations.change_assignment")
    reason = reason.strip()
    if not reason:
        raise DomainError("Say why the rating is excluded.", fields={"reason": ["Say why."]})
    assignment = rating.assignment
    if assignment is not None:
        leasing.lock_item(assignment.item_id)
    image = get_rated_image(rating)
    Generation.objects.select_for_update(no_key=True).filter(pk=image.generation_id).first()
    current = Rating.objects.select_related("criterion").get(pk=rating.pk)
    if current.is_excluded or not current.is_standing:
        raise AlreadyExcludedError
    standing.stop_counting(rating=current, image=image, reason=reason[:200])
    if assignment is not None:
        holding = Assignment.objects.filter(pk=assignment.pk, holds_place=True)
        if holding.update(holds_place=False):
            leasing.free_place(assignment.item_id)
    current.refresh_from_db()
    audit.record(
        actor=actor,
        verb="exclude_rating",
        target=current,
        before={"is_excluded": False},
        after={"is_excluded": True, "reason": current.exclusion_reason},
    )
    return current


def get_rated_image(rating: Rating) -> RatedImage:
    """Return which image of which generation the rating is of."""
    image = rating.output_image or rating.input_image
    assert image is not None  # noqa: S101 - a constraint of the table
    return RatedImage(
        generation_id=image.generation_id,
        prompt_version_id=rating.prompt_version_id,
        output_image_id=rating.output_image_id,
        input_image_id=rating.input_image_id,
    )


def _find_image(
    generation: Generation, output: OutputImage | None, input_image: InputImage | None
) -> RatedImage:
    if input_image is not None:
        if input_image.generation_id != generation.pk or output is not None:
            raise NothingToRateError
        return RatedImage(generation.pk, generation.prompt_version_id, input_image_id=input_image.pk)
    if output is None:
        outputs = list(OutputImage.objects.filter(generation=generation).order_by("position")[:2])
        if len(outputs) > 1:
            raise OutputAmbiguousError
        output = outputs[0] if outputs else None
    if output is None or output.generation_id != generation.pk:
        raise NothingToRateError
    return RatedImage(generation.pk, generation.prompt_version_id, output_image_id=output.pk)


def _list_own(actor: User, image: RatedImage, criterion: CriterionFacts) -> RatingQuerySet:
    return Rating.objects.filter(
        rater=actor,
        criterion=criterion.id,
        output_image=image.output_image_id,
        input_image=image.input_image_id,
    )


def _lock(generation: Generation) -> None:
    Generation.objects.select_for_update(no_key=True).filter(pk=generation.pk).values_list("pk").first()


def _get_overall() -> CriterionFacts:
    criterion = Criterion.objects.get(slug=standing.OVERALL)
    newest = Scale.objects.filter(criterion=criterion).order_by("-number").values_list("pk", flat=True)
    return CriterionFacts(
        criterion.pk, criterion.slug, criterion.name, criterion.description, newest[:1].get()
    )
