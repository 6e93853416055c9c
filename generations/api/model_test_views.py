"""Tests of image models over the API."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.idempotency import IDEMPOTENCY_KEY, answer_once
from generations import selectors
from generations.api import bodies, serializers
from generations.models import Generation
from generations.services.model_tests import start_model_test
from prompts.api.views import ReadableViewSet
from prompts.models import ImageModel


class ModelTestViewSet(ReadableViewSet):
    """One real call to a model; mounted below the model's own address."""

    serializer_class = serializers.GenerationSerializer
    view_permission = "prompts.view_imagemodel"
    rights: ClassVar = {"test": "prompts.change_imagemodel"}

    def get_queryset(self) -> QuerySet[Any]:
        """Return the models that the caller may see."""
        return ImageModel.objects.visible_to(self.actor)

    @extend_schema(
        request=bodies.ModelTestSerializer,
        responses={202: serializers.GenerationSerializer},
        parameters=[IDEMPOTENCY_KEY],
    )
    def test(self, request: Request, pk: UUID) -> Response:
        """Queue one generation of the model; follow it at its own address, its call in its attempts."""
        image_model = self.get_object()
        values = self.read_body(request, serializer=bodies.ModelTestSerializer)

        def start() -> tuple[int, Any]:
            made = start_model_test(actor=self.actor, image_model=image_model, **values)
            row = selectors.with_images(Generation.objects.visible_to(self.actor)).get(pk=made.pk)
            return status.HTTP_202_ACCEPTED, self.get_serializer(row).data

        return answer_once(request, start)
