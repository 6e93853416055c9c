"""Which criteria, queues, assignments and ratings."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from django.db.models import Exists, OuterRef, QuerySet

from accounts.models import User
from accounts.permissions import can
from evaluations.choices import AssignmentState, RaterKind
from mayagen.common.models import SoftDeleteQuerySet

if TYPE_CHECKING:
    from evaluations.models import Assignment, Criterion, Rating, ReviewQueue


class CriterionQuerySet(QuerySet["Criterion"]):
    """Criteria."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "evaluations.view_criterion") else self.none()


class ReviewQueueQuerySet(SoftDeleteQuerySet["ReviewQueue"]):
    """Review queues."""

    def open_to(self, actor: User) -> Self:
        """Keep the active queues in which the actor may rate."""
        return self.with_member(actor.pk) if can(actor, "evaluations.review") else self.none()

    def with_member(self, person_id: uuid.UUID) -> Self:
        """Keep the active queues that are for everybody or for this person."""
        members: QuerySet[Any] = QuerySet(self.model.evaluators.through).filter(reviewqueue=OuterRef("pk"))
        is_member = ~Exists(members) | Exists(members.filter(user=person_id))
        return self.alive().filter(is_member, is_active=True)

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see: all for who reads queues, else those open to them."""
        return self if can(actor, "evaluations.view_reviewqueue") else self.open_to(actor)


class AssignmentQuerySet(QuerySet["Assignment"]):
    """Assignments."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see: all for who oversees, else one's own."""
        return self if can(actor, "evaluations.view_assignment") else self.filter(evaluator=actor)

    def leased(self) -> Self:
        """Keep the assignments that hold a place."""
        return self.filter(state=AssignmentState.LEASED)

    def lapsed(self, now: datetime) -> Self:
        """Keep the leased assignments whose lease has run out."""
        return self.leased().filter(lease_expires_at__lt=now)


class RatingQuerySet(QuerySet["Rating"]):
    """Ratings."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see: all for who reads ratings, else one's own."""
        return self if can(actor, "evaluations.view_rating") else self.filter(rater=actor)

    def standing(self) -> Self:
        """Keep the ratings that were neither revised nor withdrawn."""
        return self.filter(is_standing=True)

    def counted(self) -> Self:
        """Keep the ratings that count in the consensus."""
        return self.standing().filter(
            rater_kind=RaterKind.PERSON, is_gold=False, is_surplus=False, is_excluded=False
        )
