"""Runs over the API."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.utils import timezone
from django.utils.http import parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from accounts.api.idempotency import IDEMPOTENCY_KEY, answer_once
from generations import run_grid, selectors
from generations.api import bodies, filters, run_serializers
from generations.api.uploads import UploadViewMixin, read_inputs
from generations.models import Run
from generations.services.ceilings import raise_ceiling
from generations.services.retrying import retry_failed
from generations.services.runs import MAX_REPEATS, cancel_run, create_run
from generations.services.unknown_outcomes import Decision, decide_unknown_outcomes
from mayagen.common.api import PAGE_PARAMETERS, InvalidParameterError
from prompts.api.views import ReadableViewSet

TAG = OpenApiParameter("tag", OpenApiTypes.STR, description="Only cases with this tag.")
REPEAT = OpenApiParameter("repeat", OpenApiTypes.INT, description="Only this repeat, from 0.")


class RunViewSet(UploadViewMixin, ReadableViewSet):
    """Runs: launched, watched, cancelled, their failures retried."""

    queryset = Run.objects.none()
    serializer_class = run_serializers.RunSerializer
    filterset_class = filters.RunFilterSet
    ordering_fields = ("created_at", "name")
    ordering = "-id"
    view_permission = "generations.view_run"
    upload_actions: ClassVar = {"create": True}
    rights: ClassVar = {
        "create": "generations.add_run",
        "cancel": "generations.change_run",
        "retry": "generations.change_run",
        "decide_unknown_outcomes": "generations.change_run",
        "raise_ceiling": "generations.change_run",
    }

    @property
    def query_parameters(self) -> tuple[str, ...]:
        """The parameters that this action knows beside filters and pages."""
        return ("tag", "repeat", *PAGE_PARAMETERS) if self.action == "grid" else ()

    def get_queryset(self) -> QuerySet[Run]:
        """Return the runs that the caller may see."""
        return Run.objects.visible_to(self.actor).prefetch_related("prompt_versions")

    def paginate_queryset(self, queryset: Any) -> Any:
        """Return the page, each run with its counts."""
        page = super().paginate_queryset(queryset)
        if self.action == "list":
            selectors.attach_counts(page or [])
        return page

    @extend_schema(responses=run_serializers.RunDetailSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a run with its progress; with `If-None-Match`, only when it has changed."""
        return _answer_if_changed(request, self._describe(self.get_object()))

    @extend_schema(responses=run_serializers.RunStandingSerializer, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def progress(self, request: Request, pk: UUID) -> Response:
        """Return how far a run is; with `If-None-Match`, only when that has changed."""
        progress = selectors.get_run_progress(run_id=self.get_object().pk, now=timezone.now())
        return _answer_if_changed(request, run_serializers.RunStandingSerializer(progress).data)

    @extend_schema(responses=run_serializers.FailureDetailSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def failures(self, request: Request, pk: UUID) -> Response:
        """List what failed by code, the most frequent first, and what the run's ceiling stopped.

        `retry` takes such a code, save `ceiling_reached`: that is what `raise-ceiling` is for.
        """
        groups = selectors.list_failures(run_id=self.get_object().pk)
        context = self.get_serializer_context()
        shown = run_serializers.FailureDetailSerializer(groups, many=True, context=context)
        return Response(shown.data)

    @extend_schema(
        responses=run_serializers.GridRowSerializer(many=True), parameters=[TAG, REPEAT], filters=False
    )
    @action(detail=True, methods=["get"], ordering_fields=("position",), ordering="position")
    def grid(self, request: Request, pk: UUID) -> Response:
        """List the run's cases, each with what every version made of it, in the order of the versions."""
        run: Any = self.get_object()
        items = run_grid.list_cases(run, tag=request.query_params.get("tag", ""))
        rows = run_grid.load_rows(
            run,
            self.paginate_queryset(items.order_by()),
            version_ids=[version.pk for version in run.prompt_versions.all()],
            repeat=_read_repeat(request),
        )
        shown = run_serializers.GridRowSerializer(rows, many=True, context=self.get_serializer_context())
        return self.get_paginated_response(shown.data)

    @extend_schema(
        request={
            "application/json": bodies.NewRunSerializer,
            "multipart/form-data": bodies.NewRunSerializer,
        },
        responses={201: run_serializers.RunDetailSerializer},
        parameters=[IDEMPOTENCY_KEY],
    )
    def create(self, request: Request) -> Response:
        """Launch versions × items × repeats; everything is checked first, and all of it is queued at once."""
        values = self.read_body(request, serializer=bodies.NewRunSerializer)
        values["input_files"] = read_inputs(values)

        def launch() -> tuple[int, Any]:
            run = create_run(actor=self.actor, **values)
            return status.HTTP_201_CREATED, self._describe(self.get_queryset().get(pk=run.pk))

        return answer_once(request, launch)

    @extend_schema(request=None, responses=bodies.CancelledSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: UUID) -> Response:
        """Cancel all that is not finished."""
        return Response({"n_cancelled": cancel_run(actor=self.actor, run=self.get_object())})

    @extend_schema(
        request=bodies.RetrySerializer,
        responses=bodies.RetriedSerializer,
        parameters=[IDEMPOTENCY_KEY],
    )
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: UUID) -> Response:
        """Queue a new generation for each failed one, or for those that failed with a certain code.

        Those with the code `outcome_unknown` may be paid for twice, so that they are retried only by name.
        """
        run = self.get_object()
        code = self.read_body(request, serializer=bodies.RetrySerializer).get("error_code")
        return answer_once(
            request,
            lambda: (200, {"n_retried": self._retry(run, code)}),
        )

    @extend_schema(responses=run_serializers.UnknownOutcomesSerializer, filters=False)
    @action(detail=True, methods=["get"], url_path="unknown-outcomes", pagination_class=None)
    def unknown_outcomes(self, request: Request, pk: UUID) -> Response:
        """Return how many calls may or may not have been carried out, and the money at risk."""
        run: Any = self.get_object()
        return Response(run_serializers.UnknownOutcomesSerializer(selectors.list_unknown_outcomes(run)).data)

    @extend_schema(
        request=bodies.DecisionSerializer, responses=bodies.DecidedSerializer, parameters=[IDEMPOTENCY_KEY]
    )
    @unknown_outcomes.mapping.post
    def decide_unknown_outcomes(self, request: Request, pk: UUID) -> Response:
        """Accept the calls of unknown outcome as lost, or send them again and perhaps pay them twice."""
        run: Any = self.get_object()
        decision = Decision(self.read_body(request, serializer=bodies.DecisionSerializer)["decision"])

        def decide() -> tuple[int, Any]:
            n_decided = decide_unknown_outcomes(actor=self.actor, run=run, decision=decision)
            return status.HTTP_200_OK, {"n_decided": n_decided}

        return answer_once(request, decide)

    @extend_schema(
        request=bodies.CeilingSerializer, responses=bodies.RaisedSerializer, parameters=[IDEMPOTENCY_KEY]
    )
    @action(detail=True, methods=["post"], url_path="raise-ceiling")
    def raise_ceiling(self, request: Request, pk: UUID) -> Response:
        """Let the run cost more, and queue what its ceiling had stopped, as far as the new one has room."""
        run: Any = self.get_object()
        ceiling_usd = self.read_body(request, serializer=bodies.CeilingSerializer)["ceiling_usd"]

        def carry_out() -> tuple[int, Any]:
            n_queued = raise_ceiling(actor=self.actor, run=run, ceiling_usd=ceiling_usd)
            return status.HTTP_200_OK, {"n_queued": n_queued}

        return answer_once(request, carry_out)

    def _retry(self, run: Any, code: str | None) -> int:
        return retry_failed(actor=self.actor, run=run, error_code=code, leaves_unknown=code is None)

    def _describe(self, run: Model) -> Any:
        assert isinstance(run, Run)  # noqa: S101 - what the queryset holds
        progress = selectors.get_run_progress(run_id=run.pk, now=timezone.now())
        run.counts = progress.counts  # type: ignore[attr-defined]
        run.progress = progress  # type: ignore[attr-defined]
        return run_serializers.RunDetailSerializer(run, context=self.get_serializer_context()).data


def _answer_if_changed(request: Request, data: Any) -> Response:
    etag = f'"{hashlib.sha256(json.dumps(data, cls=JSONEncoder).encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag in parse_etags(request.headers.get("If-None-Match", "")):
        return Response(status=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return Response(data, headers=headers)


def _read_repeat(request: Request) -> int | None:
    text = request.query_params.get("repeat")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or int(text[:9]) >= MAX_REPEATS:
        raise InvalidParameterError(fields={"repeat": [f"Give a whole number from 0 to {MAX_REPEATS - 1}."]})
    return int(text)
