"""Provider health over the API."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from generations.api import filters, serializers
from generations.models import ProviderHealth
from generations.services.health import close_breaker
from prompts.api.views import ReadableViewSet


class ProviderHealthViewSet(ReadableViewSet):
    """Provider addresses that were ever in trouble, and whether they are called now."""

    queryset = ProviderHealth.objects.none()
    serializer_class = serializers.ProviderHealthSerializer
    filterset_class = filters.ProviderHealthFilterSet
    ordering_fields = ("created_at",)
    view_permission = "generations.view_providerhealth"
    rights: ClassVar = {"close": "generations.change_providerhealth"}

    def get_queryset(self) -> QuerySet[ProviderHealth]:
        """Return the addresses that the caller may see."""
        return ProviderHealth.objects.visible_to(self.actor)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def close(self, request: Request, pk: UUID) -> Response:
        """Let work of this address go on at once."""
        health: Any = self.get_object()
        return self.answer(close_breaker(actor=self.actor, health=health).pk)
