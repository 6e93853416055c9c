"""The verbs on review queues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.db import transaction
from django.db.models import Model
from django.utils import timezone

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from accounts.roles import ADMIN, EVALUATOR
from evaluations.assignment import leasing, syncing
from evaluations.models import Assignment, Criterion, ReviewQueue
from generations.models import Dataset, Run
from mayagen.common.errors import ConflictError, DomainError
from prompts.models import Prompt

_FIELDS: Final = (
    *("name", "instructions", "criterion", "overlap", "is_blind", "is_active"),
    *("held_lease_seconds", "shown_lease_seconds"),
)
_CHOSEN: Final = ("prompts", "runs", "datasets", "evaluators")
_CHANGES_ITEMS: Final = frozenset({"overlap", "prompts", "runs", "datasets", "is_active"})


class EvaluatorInvalidError(DomainError):
    """Somebody chosen for the queue cannot rate."""

    code = "evaluator_invalid"
    sentence = "Only active evaluators and admins can be chosen for a queue."


class CriterionInactiveError(DomainError):
    """The criterion is retired."""

    code = "criterion_inactive"
    sentence = "The criterion is retired; choose an active one."


class CriterionInUseError(ConflictError):
    """Another question would be asked about items that people have already answered."""

    code = "criterion_in_use"
    sentence = "People have rated in this queue: make a new queue to ask another question."


class DefaultQueueError(ConflictError):
    """The queue of all unrated images stays as it is meant."""

    code = "default_queue"
    sentence = "The queue of all unrated images can be switched off, but neither deleted nor filtered."


@transaction.atomic
def create_queue(
    *,
    actor: User,
    name: str,
    criterion: Criterion,
    instructions: str = "",
    overlap: int = 1,
    is_blind: bool = True,
    is_active: bool = True,
    held_lease_seconds: int = 180,
    shown_lease_seconds: int = 900,
    prompts: Iterable[Prompt] = (),
    runs: Iterable[Run] = (),
    datasets: Iterable[Dataset] = (),
    evaluators: Iterable[User] = (),
) -> ReviewQueue:
    """Make a review queue; its items come with the next pull.

    Args:
        prompts: With `runs` and `datasets` the filter: an output must match one of each kind that is given.
        evaluators: Who rates in it; everybody who may rate when nobody is chosen.

    Raises:
        PermissionDeniedError: The actor's role does not allow it.
        CriterionInactiveError: The criterion is retired.
        EvaluatorInvalidError: Somebody chosen cannot rate.
        ValidationError: A field has a value that it cannot have.
    """
    require(actor, "evaluations.add_reviewqueue")
    queue = ReviewQueue(
        name=name,
        criterion=criterion,
        instructions=instructions,
        overlap=overlap,
        is_blind=is_blind,
        is_active=is_active,
        held_lease_seconds=held_lease_seconds,
        shown_lease_seconds=shown_lease_seconds,
        created_by=actor,
    )
    _check_criterion(criterion)
    queue.full_clean(exclude=["created_by"])
    queue.save(force_insert=True)
    chosen: dict[str, list[Any]] = {
        "prompts": list(prompts),
        "runs": list(runs),
        "datasets": list(datasets),
        "evaluators": list(evaluators),
    }
    _choose(queue, chosen)
    audit.record(actor=actor, verb="create_queue", target=queue, after=_describe(queue))
    return queue


@transaction.atomic
def change_queue(*, actor: User, queue: ReviewQueue, **changes: Any) -> ReviewQueue:
    """Change a queue; its items follow at once, ratings stay.

    Args:
        changes: Arguments of `create_queue`; what is not named stays.

    Raises:
        PermissionDeniedError: The actor's role does not allow it.
        CriterionInUseError: Another criterion, after people have rated.
        DefaultQueueError: A filter for the queue of all unrated images.
        CriterionInactiveError: The criterion is retired.
        EvaluatorInvalidError: Somebody chosen cannot rate.
        ValidationError: A field has a value that it cannot have.
    """
    require(actor, "evaluations.change_reviewqueue")
    stored = ReviewQueue.objects.select_for_update(no_key=True).get(pk=queue.pk)
    before = _describe(stored)
    chosen: dict[str, list[Any]] = {kind: list(changes.pop(kind)) for kind in _CHOSEN if kind in changes}
    _check_changes(stored, changes, chosen)
    for field, value in changes.items():
        setattr(stored, field, value)
    stored.full_clean(exclude=["created_by"])
    stored.save(update_fields=[*changes])
    _choose(stored, chosen)
    after = _describe(stored)
    changed = {key for key in after if after[key] != before[key]}
    if not changed:
        return stored
    if changed & _CHANGES_ITEMS:
        syncing.reconcile(stored)
    audit.record_change(actor=actor, verb="change_queue", target=stored, before=before, after=after)
    return stored


def _check_changes(stored: ReviewQueue, changes: Mapping[str, Any], chosen: Mapping[str, list[Any]]) -> None:
    unknown = changes.keys() - set(_FIELDS)
    if unknown:
        raise TypeError(f"a queue has no {', '.join(sorted(unknown))}")
    criterion = changes.get("criterion", stored.criterion)
    if criterion != stored.criterion:
        _check_criterion(criterion)
        if Assignment.objects.filter(queue=stored).exists():
            raise CriterionInUseError
    if stored.is_default and any(chosen.get(kind) for kind in ("prompts", "runs", "datasets")):
        raise DefaultQueueError


@transaction.atomic
def delete_queue(*, actor: User, queue: ReviewQueue) -> None:
    """Hide a queue: nobody is given items of it any more, what was rated in it stays.

    Raises:
        PermissionDeniedError: The actor's role does not allow it.
        DefaultQueueError: It is the queue of all unrated images.
    """
    require(actor, "evaluations.delete_reviewqueue")
    if queue.is_default:
        raise DefaultQueueError
    if ReviewQueue.objects.alive().filter(pk=queue.pk).update(deleted_at=timezone.now()):
        audit.record(actor=actor, verb="delete_queue", target=queue)


@transaction.atomic
def restore_queue(*, actor: User, queue: ReviewQueue) -> None:
    """Bring a deleted queue back.

    Raises:
        PermissionDeniedError: The actor's role does not allow it.
    """
    require(actor, "evaluations.delete_reviewqueue")
    if ReviewQueue.objects.deleted().filter(pk=queue.pk).update(deleted_at=None):
        audit.record(actor=actor, verb="restore_queue", target=queue)


@transaction.atomic
def release_assignments(*, actor: User, assignments: Sequence[Assignment]) -> int:
    """Take leases back from whoever holds them; returns how many there were.

    Raises:
        PermissionDeniedError: The actor does not oversee assignments.
    """
    require(actor, "evaluations.change_assignment")
    held = [each for each in assignments if each.state == "leased"]
    n_released = leasing.release_leases(each.pk for each in held)
    for each in held:
        audit.record(actor=actor, verb="release_assignment", target=each)
    return n_released


def _check_criterion(criterion: Criterion) -> None:
    if not criterion.is_active:
        raise CriterionInactiveError(fields={"criterion": [CriterionInactiveError.sentence]})


def _choose(queue: ReviewQueue, chosen: dict[str, list[Any]]) -> None:
    people = [person.pk for person in chosen.get("evaluators", [])]
    able = User.objects.filter(pk__in=people, is_active=True, groups__name__in=[ADMIN, EVALUATOR])
    if able.distinct().count() != len(set(people)):
        raise EvaluatorInvalidError(fields={"evaluators": [EvaluatorInvalidError.sentence]})
    for kind, rows in chosen.items():
        getattr(queue, kind).set(rows)


def _describe(queue: ReviewQueue) -> dict[str, Any]:
    """Return the queue's settings, ready for the audit trail."""
    described: dict[str, Any] = {}
    for field in _FIELDS:
        value = getattr(queue, field)
        described[field] = str(value.pk) if isinstance(value, Model) else value
    for kind in _CHOSEN:
        described[kind] = sorted(str(pk) for pk in getattr(queue, kind).values_list("pk", flat=True))
    return described
