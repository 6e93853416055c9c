"""Generations and their images over the API."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.idempotency import IDEMPOTENCY_KEY, answer_once
from generations import selectors
from generations.api import bodies, filters, serializers
from generations.api.uploads import UploadViewMixin, read_files, read_inputs
from generations.choices import Source
from generations.models import Generation
from generations.services.images import add_inputs, read_upload
from generations.services.recording import add_outputs, record_generation
from generations.services.retrying import retry_generation
from generations.services.runs import cancel_generation, create_run
from prompts.api.views import ReadableViewSet


class GenerationViewSet(UploadViewMixin, ReadableViewSet):
    """Generations: what was asked for, where it stands, what came out, what it was rated."""

    queryset = Generation.objects.none()
    serializer_class = serializers.GenerationSerializer
    filterset_class = filters.GenerationFilterSet
    ordering_fields: ClassVar = {"created_at": "created_at", "rating": "result_rating"}
    view_permission = "generations.view_generation"
    upload_actions: ClassVar = {"create": True, "add_inputs": False, "add_outputs": False}
    rights: ClassVar = {
        "create": "generations.add_generation",
        "add_inputs": "generations.change_generation",
        "add_outputs": "generations.change_generation",
        "cancel": "generations.change_generation",
        "retry": "generations.change_generation",
    }

    def get_queryset(self) -> QuerySet[Generation]:
        """Return the generations that the caller may see."""
        return selectors.with_images(Generation.objects.visible_to(self.actor))

    @extend_schema(
        request={
            "application/json": bodies.NewGenerationSerializer,
            "multipart/form-data": bodies.NewGenerationSerializer,
        },
        responses={201: serializers.GenerationSerializer},
        parameters=[IDEMPOTENCY_KEY],
    )
    def create(self, request: Request) -> Response:
        """Queue one generation as a run of its own, or record one that was made elsewhere."""
        values = self.read_body(request, serializer=bodies.NewGenerationSerializer)
        source = values.pop("source")
        values["input_files"] = read_inputs(values)

        def make() -> tuple[int, Any]:
            generation_id = self._record(values) if source == Source.EXTERNAL else self._launch(values)
            return status.HTTP_201_CREATED, self.answer(generation_id).data

        return answer_once(request, make)

    def _launch(self, values: dict[str, Any]) -> UUID:
        version = values["prompt_version"]
        given = {name: value for name, value in values.items() if name != "prompt_version"}
        run = create_run(actor=self.actor, name=f"{version}", prompt_versions=[version], **given)
        return run.generations.get().pk

    def _record(self, values: dict[str, Any]) -> UUID:
        outputs = [read_upload(file) for file in values.get("outputs", [])]
        given = {name: value for name, value in values.items() if name != "outputs"}
        return record_generation(actor=self.actor, output_files=outputs, **given).pk

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: UUID) -> Response:
        """Cancel the generation; what its provider still sends is kept and marked."""
        return self.answer(cancel_generation(actor=self.actor, generation=self.get_object()).pk)

    @extend_schema(
        request=None, responses={201: serializers.GenerationSerializer}, parameters=[IDEMPOTENCY_KEY]
    )
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: UUID) -> Response:
        """Queue a new generation in place of one that failed or was cancelled, and return the new one."""
        generation = self.get_object()

        def make() -> tuple[int, Any]:
            made = retry_generation(actor=self.actor, generation=generation)
            return status.HTTP_201_CREATED, self.answer(made.pk).data

        return answer_once(request, make)

    @extend_schema(responses=serializers.AttemptSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def attempts(self, request: Request, pk: UUID) -> Response:
        """List the calls to the provider, the first one first."""
        rows = self.get_object().attempts.order_by("number")
        shown = serializers.AttemptSerializer(rows, many=True, context=self.get_serializer_context())
        return Response(shown.data)

    @extend_schema(responses=serializers.InputImageSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def inputs(self, request: Request, pk: UUID) -> Response:
        """List the input images."""
        return Response(serializers.InputImageSerializer(self.get_object().inputs.all(), many=True).data)

    @extend_schema(
        request={"multipart/form-data": bodies.InputFilesSerializer},
        responses={201: serializers.InputImageSerializer(many=True)},
    )
    @inputs.mapping.post
    def add_inputs(self, request: Request, pk: UUID) -> Response:
        """Add input images to a generation made elsewhere, or to one that was not yet sent."""
        generation = self.get_object()
        values = self.read_body(request, serializer=bodies.InputFilesSerializer)
        files = read_files(values["files"], values["role"])
        images = add_inputs(actor=self.actor, generation=generation, files=files)
        shown = serializers.InputImageSerializer(images, many=True)
        return Response(shown.data, status=status.HTTP_201_CREATED)

    @extend_schema(responses=serializers.OutputImageSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def outputs(self, request: Request, pk: UUID) -> Response:
        """List the output images."""
        return Response(serializers.OutputImageSerializer(self.get_object().outputs.all(), many=True).data)

    @extend_schema(
        request={"multipart/form-data": bodies.FilesSerializer},
        responses={201: serializers.OutputImageSerializer(many=True)},
    )
    @outputs.mapping.post
    def add_outputs(self, request: Request, pk: UUID) -> Response:
        """Add images to a generation made elsewhere; the first ones complete it."""
        generation = self.get_object()
        values = self.read_body(request, serializer=bodies.FilesSerializer)
        files = [read_upload(file) for file in values["files"]]
        images = add_outputs(actor=self.actor, generation=generation, files=files)
        shown = serializers.OutputImageSerializer(images, many=True)
        return Response(shown.data, status=status.HTTP_201_CREATED)
