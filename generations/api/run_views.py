"""Runs over the API."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.utils import timezone
from django.utils.http import parse_etags
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from accounts.api.idempotency import IDEMPOTENCY_KEY, answer_once
from generations import selectors
from generations.api import bodies, filters, serializers
from generations.api.uploads import UploadViewMixin, read_inputs
from generations.models import Run
from generations.services.retrying import retry_failed
from generations.services.runs import cancel_run, create_run
from prompts.api.views import ReadableViewSet


class RunViewSet(UploadViewMixin, ReadableViewSet):
    """Runs: launched, watched, cancelled, their failures retried."""

    queryset = Run.objects.none()
    serializer_class = serializers.RunSerializer
    filterset_class = filters.RunFilterSet
    ordering_fields = ("created_at", "name")
    view_permission = "generations.view_run"
    upload_actions: ClassVar = {"create": True}
    rights: ClassVar = {
        "create": "generations.add_run",
        "cancel": "generations.change_run",
        "retry": "generations.change_run",
    }

    def get_queryset(self) -> QuerySet[Run]:
        """Return the runs that the caller may see."""
        return Run.objects.visible_to(self.actor).prefetch_related("prompt_versions")

    def paginate_queryset(self, queryset: Any) -> Any:
        """Return the page, each run with its counts."""
        page = super().paginate_queryset(queryset)
        selectors.attach_counts(page or [])
        return page

    @extend_schema(responses=serializers.RunDetailSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a run with its progress; with `If-None-Match`, only when it has changed."""
        data = self._describe(self.get_object())
        etag = f'"{hashlib.sha256(json.dumps(data, cls=JSONEncoder).encode()).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if etag in parse_etags(request.headers.get("If-None-Match", "")):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers=headers)
        return Response(data, headers=headers)

    @extend_schema(
        request={
            "application/json": bodies.NewRunSerializer,
            "multipart/form-data": bodies.NewRunSerializer,
        },
        responses={201: serializers.RunDetailSerializer},
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
        """Queue a new generation for each failed one, or for those that failed with a certain code."""
        run = self.get_object()
        code = self.read_body(request, serializer=bodies.RetrySerializer).get("error_code")
        return answer_once(
            request,
            lambda: (200, {"n_retried": retry_failed(actor=self.actor, run=run, error_code=code)}),
        )

    def _describe(self, run: Model) -> Any:
        assert isinstance(run, Run)  # noqa: S101 - what the queryset holds
        progress = selectors.get_run_progress(run_id=run.pk, now=timezone.now())
        run.counts = progress.counts  # type: ignore[attr-defined]
        run.progress = progress  # type: ignore[attr-defined]
        return serializers.RunDetailSerializer(run, context=self.get_serializer_context()).data
