"""Review queues, assignments and ratings over the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, ClassVar, cast
from uuid import UUID

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet, ViewSet

from accounts.models import User
from accounts.permissions import can, require
from evaluations import selectors
from evaluations.api import filters, serializers
from evaluations.api.representations import (
    present_criterion,
    present_facts,
    present_item,
    present_time,
)
from evaluations.assignment.items import AssignmentFacts
from evaluations.models import Rating, ReviewQueue
from evaluations.querysets import RatingQuerySet
from evaluations.services import holding, queues, rating, reviewing
from generations.models import Generation
from mayagen.common.api import StrictQueryMixin
from mayagen.common.errors import NotFoundError

_readers: dict[type[BaseSerializer], BaseSerializer] = {}


def read_body(request: Request, serializer: type[BaseSerializer]) -> dict[str, Any]:
    """Return the validated values of the body.

    One instance reads all bodies of a kind: reading changes nothing in it, and making one takes long.
    """
    reader = _readers.get(serializer) or _readers.setdefault(serializer, serializer())
    return cast("dict[str, Any]", reader.run_validation(request.data))


def read_allowed_body(
    request: Request, serializer: type[BaseSerializer], check: Callable[[], object]
) -> dict[str, Any]:
    """Return the validated values of the body; what is wrong with it is told only to who passes the check.

    The verbs check too, so that a good body costs no check of its own.
    """
    try:
        return read_body(request, serializer)
    except APIException:
        check()
        raise


def get_actor(request: Request) -> User:
    """Return who is asking."""
    return cast("User", request.user)


class ReviewQueueViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet):
    """Review queues: for evaluators those open to them, with the calls that the review page makes."""

    lookup_value_converter = "uuid"
    rights: ClassVar[Mapping[str, str]] = {
        "create": "evaluations.add_reviewqueue",
        "partial_update": "evaluations.change_reviewqueue",
        "destroy": "evaluations.delete_reviewqueue",
        "restore": "evaluations.delete_reviewqueue",
    }

    @property
    def query_parameters(self) -> tuple[str, ...]:
        """The parameters that this action knows beside filters and pages."""
        return ("cursor",) if self.action == "history" else ()

    @property
    def filterset_class(self) -> type[filters.QueueFilterSet] | None:
        """The filters of those who read all queues."""
        return filters.QueueFilterSet if self._reads_all() else None

    def get_queryset(self) -> QuerySet[ReviewQueue]:
        """Return the queues that the caller may see."""
        queues_ = ReviewQueue.objects.visible_to(get_actor(self.request)).select_related("criterion")
        return queues_.prefetch_related("prompts", "runs", "datasets", "evaluators")

    def get_serializer_class(self) -> type[BaseSerializer]:
        """Return the shape for this caller."""
        reads_all = self._reads_all()
        return serializers.ReviewQueueSerializer if reads_all else serializers.OpenQueueSerializer

    def get_serializer_context(self) -> dict[str, Any]:
        """Say whether the caller may know people."""
        knows_people = can(self.request.user, "accounts.add_user")
        return {**super().get_serializer_context(), "knows_people": knows_people}

    @extend_schema(
        request=serializers.QueueFieldsSerializer, responses={201: serializers.ReviewQueueSerializer}
    )
    def create(self, request: Request) -> Response:
        """Make a queue."""
        require(request.user, self.rights["create"])
        values = read_body(request, serializers.QueueFieldsSerializer)
        queue = queues.create_queue(actor=get_actor(request), **values)
        return self._answer(queue.pk, status.HTTP_201_CREATED)

    @extend_schema(request=serializers.QueueFieldsSerializer)
    def partial_update(self, request: Request, pk: UUID) -> Response:
        """Change a queue; what is left out stays."""
        queue = self._get_to_write()
        body = serializers.QueueFieldsSerializer(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        queues.change_queue(actor=get_actor(request), queue=queue, **body.validated_data)
        return self._answer(pk)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: UUID) -> Response:
        """Hide a queue; it can be restored."""
        queues.delete_queue(actor=get_actor(request), queue=self._get_to_write())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: UUID) -> Response:
        """Bring a deleted queue back."""
        queues.restore_queue(actor=get_actor(request), queue=self._get_to_write())
        return self._answer(pk)

    @extend_schema(request=serializers.NextSerializer, responses=serializers.AssignmentsSerializer)
    @action(detail=True, methods=["post"])
    def next(self, request: Request, pk: UUID) -> Response:
        """Give the caller's next items: those they hold already, then new ones."""
        n_wanted = self._read_body(request, serializers.NextSerializer)["count"]
        given = holding.take_next_items(actor=get_actor(request), queue_id=pk, n_wanted=n_wanted)
        criterion = present_criterion(given.criterion)
        return Response({"assignments": [present_item(item, criterion) for item in given.items]})

    @extend_schema(request=serializers.HeartbeatSerializer, responses=serializers.LeasesSerializer)
    @action(detail=True, methods=["post"])
    def heartbeat(self, request: Request, pk: UUID) -> Response:
        """Extend the leases that the caller still holds, the shown item's for longer."""
        body = self._read_body(request, serializers.HeartbeatSerializer)
        ids, shown_id = body["assignments"], body["shown"]
        ends = holding.extend_leases(
            actor=get_actor(request), queue_id=pk, assignment_ids=ids, shown_id=shown_id
        )
        asked = dict.fromkeys([*ids, *([shown_id] if shown_id else [])])
        return Response(
            {
                "assignments": [
                    {"id": str(each), "lease_expires_at": present_time(ends[each])}
                    for each in asked
                    if each in ends
                ],
                "lost": [str(each) for each in asked if each not in ends],
            }
        )

    @extend_schema(request=serializers.HeldSerializer, responses={204: None})
    @action(detail=True, methods=["post"], url_path="return", url_name="return")
    def give_back(self, request: Request, pk: UUID) -> Response:
        """Give back items that the caller holds."""
        ids = self._read_body(request, serializers.HeldSerializer)["assignments"]
        holding.return_leases(actor=get_actor(request), queue_id=pk, assignment_ids=ids)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses=serializers.ProgressSerializer)
    @action(detail=True)
    def progress(self, request: Request, pk: UUID) -> Response:
        """Say what is due for the caller and how far they are."""
        actor = get_actor(request)
        holding.get_open_queue(actor, pk)
        progress = selectors.get_progress(actor=actor, queue_id=pk)
        if progress is None:
            raise NotFoundError
        return Response(asdict(progress))

    @extend_schema(responses=serializers.HistorySerializer)
    @action(detail=True)
    def history(self, request: Request, pk: UUID) -> Response:
        """List what the caller rated and skipped in this queue, newest first."""
        actor = get_actor(request)
        holding.get_open_queue(actor, pk)
        page = selectors.get_history(actor=actor, queue_id=pk, cursor=request.query_params.get("cursor"))
        address = request.build_absolute_uri(request.path)
        return Response(
            {
                "next": page.older and f"{address}?cursor={page.older}",
                "previous": page.newer and f"{address}?cursor={page.newer}",
                "results": [present_facts(facts) for facts in page.items],
            }
        )

    def _read_body(self, request: Request, serializer: type[BaseSerializer]) -> dict[str, Any]:
        actor, queue_id = get_actor(request), self.kwargs["pk"]
        return read_allowed_body(request, serializer, lambda: holding.get_open_queue(actor, queue_id))

    def _reads_all(self) -> bool:
        return can(self.request.user, "evaluations.view_reviewqueue")

    def _get_to_write(self) -> ReviewQueue:
        queue: ReviewQueue = self.get_object()
        require(self.request.user, self.rights[self.action])
        return queue

    def _answer(self, pk: UUID, status_code: int = status.HTTP_200_OK) -> Response:
        return Response(self.get_serializer(self.get_queryset().get(pk=pk)).data, status=status_code)


class AssignmentViewSet(StrictQueryMixin, ViewSet):
    """What an evaluator does with an item that was assigned to them; nobody else's is there for them."""

    lookup_value_converter = "uuid"

    @extend_schema(request=serializers.SubmitSerializer, responses=serializers.AssignmentSerializer)
    @action(detail=True, methods=["post"])
    def submit(self, request: Request, pk: UUID) -> Response:
        """Rate the item, or revise one's rating of it."""
        body = self._read_body(request, serializers.SubmitSerializer)
        facts = reviewing.submit_rating(
            actor=get_actor(request),
            assignment_id=pk,
            level=body["level"],
            note=body["note"],
            is_flagged=body["flagged"],
            shown_at=body["shown_at"],
            decided_ms=body["decided_ms"],
        )
        return _answer(facts)

    @extend_schema(request=serializers.EmptySerializer, responses=serializers.AssignmentSerializer)
    @action(detail=True, methods=["post"])
    def clear(self, request: Request, pk: UUID) -> Response:
        """Withdraw one's rating; the item is one's own again."""
        self._read_body(request, serializers.EmptySerializer)
        return _answer(reviewing.clear_rating(actor=get_actor(request), assignment_id=pk))

    @extend_schema(request=serializers.SkipSerializer, responses=serializers.AssignmentSerializer)
    @action(detail=True, methods=["post"])
    def skip(self, request: Request, pk: UUID) -> Response:
        """Leave the item to others."""
        body = self._read_body(request, serializers.SkipSerializer)
        facts = reviewing.skip_assignment(
            actor=get_actor(request), assignment_id=pk, note=body["note"], is_flagged=body["flagged"]
        )
        return _answer(facts)

    @extend_schema(request=serializers.EmptySerializer, responses=serializers.AssignmentSerializer)
    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, pk: UUID) -> Response:
        """Take back a skipped item."""
        self._read_body(request, serializers.EmptySerializer)
        return _answer(reviewing.reopen_assignment(actor=get_actor(request), assignment_id=pk))

    def _read_body(self, request: Request, serializer: type[BaseSerializer]) -> dict[str, Any]:
        actor, assignment_id = get_actor(request), self.kwargs["pk"]
        return read_allowed_body(
            request, serializer, lambda: reviewing.require_own(actor=actor, assignment_id=assignment_id)
        )


class RatingViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet):
    """Ratings: all for who reads results, the caller's own for evaluators, without what is hidden there."""

    queryset = Rating.objects.none()
    lookup_value_converter = "uuid"
    ordering_fields = ("created_at",)

    @property
    def filterset_class(self) -> type[filters.OwnRatingFilterSet]:
        """The filters for this caller."""
        if not can(self.request.user, "evaluations.view_rating"):
            return filters.OwnRatingFilterSet
        return filters.RaterFilterSet if self._knows_people() else filters.RatingFilterSet

    def get_queryset(self) -> RatingQuerySet:
        """Return the ratings that the caller may see."""
        actor = get_actor(self.request)
        if not can(actor, "evaluations.view_rating"):
            require_reader(actor)
        return with_context(Rating.objects.visible_to(actor))

    def get_serializer_class(self) -> type[BaseSerializer]:
        """Return the shape for this caller."""
        reads_all = can(self.request.user, "evaluations.view_rating")
        return serializers.RatingSerializer if reads_all else serializers.BlindRatingSerializer

    def get_serializer_context(self) -> dict[str, Any]:
        """Say whether the caller may know people."""
        return {**super().get_serializer_context(), "knows_people": self._knows_people()}

    def _knows_people(self) -> bool:
        return can(self.request.user, "accounts.add_user")


class GenerationRatingView(StrictQueryMixin, APIView):
    """What people think of one generation, and the caller's own open rating of it."""

    @extend_schema(responses=serializers.GenerationRatingSerializer)
    def get(self, request: Request, pk: UUID) -> Response:
        """Return consensus and standing ratings."""
        return self._answer(request, self._get_generation(request, pk))

    @extend_schema(request=serializers.OpenRatingSerializer, responses=serializers.GenerationRatingSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        """Rate an output or an input; again to revise."""
        generation = self._get_generation(request, pk)
        require(request.user, "evaluations.add_rating")
        body = read_body(request, serializers.OpenRatingSerializer)
        rating.rate_generation(
            actor=get_actor(request),
            generation=generation,
            level=body["level"],
            note=body["note"],
            output=body["output"],
            input_image=body["input"],
        )
        return self._answer(request, generation)

    @extend_schema(request=serializers.RatedImageSerializer, responses=serializers.GenerationRatingSerializer)
    def delete(self, request: Request, pk: UUID) -> Response:
        """Withdraw one's own rating."""
        generation = self._get_generation(request, pk)
        require(request.user, "evaluations.add_rating")
        body = read_body(request, serializers.RatedImageSerializer)
        rating.withdraw_own_rating(
            actor=get_actor(request), generation=generation, output=body["output"], input_image=body["input"]
        )
        return self._answer(request, generation)

    def _get_generation(self, request: Request, pk: UUID) -> Generation:
        generation = Generation.objects.visible_to(get_actor(request)).filter(pk=pk).first()
        if generation is None:
            raise NotFoundError
        return generation

    def _answer(self, request: Request, generation: Generation) -> Response:
        actor = get_actor(request)
        of_generation = Q(output_image__generation=generation) | Q(input_image__generation=generation)
        standing = with_context(Rating.objects.visible_to(actor).standing().filter(of_generation))
        rows = list(standing.order_by("-pk"))
        context = {"knows_people": can(actor, "accounts.add_user")}
        generation.refresh_from_db(fields=["result_rating"])
        body = {
            "rating": generation.result_rating,
            "outputs": list(generation.outputs.order_by("position").values("id", "rating")),
            "inputs": list(generation.inputs.order_by("position").values("id", "rating")),
            "mine": [row for row in rows if row.rater_id == actor.pk],
            "ratings": rows,
        }
        return Response(serializers.GenerationRatingSerializer(body, context=context).data)


def with_context(ratings: RatingQuerySet) -> RatingQuerySet:
    """Bring all that a rating's shape shows."""
    return ratings.select_related(
        "criterion", "scale_level", "rater", "assignment", "output_image", "input_image"
    )


def require_reader(actor: User) -> None:
    """Do nothing for who rates; for a role that neither reads nor makes ratings there are none.

    Raises:
        NotFoundError: The role does neither.
    """
    if not can(actor, reviewing.REVIEW):
        raise NotFoundError


def _answer(facts: AssignmentFacts) -> Response:
    return Response(present_facts(facts))
