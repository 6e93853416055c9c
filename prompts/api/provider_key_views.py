"""Providers' keys over the API: values go in, none comes out."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from prompts import services
from prompts.api import filters, serializers
from prompts.api.views import ReadableViewSet
from prompts.models import ProviderKey


class ProviderKeyViewSet(ReadableViewSet):
    """Stored keys by name, for admins."""

    serializer_class = serializers.ProviderKeySerializer
    filterset_class = filters.ProviderKeyFilterSet
    ordering_fields = ("created_at", "name", "set_at")
    view_permission = "prompts.view_providerkey"
    rights: ClassVar = {
        "create": "prompts.add_providerkey",
        "partial_update": "prompts.change_providerkey",
        "destroy": "prompts.delete_providerkey",
    }

    def get_queryset(self) -> QuerySet[ProviderKey]:
        """Return the keys that the caller may know of."""
        return ProviderKey.objects.visible_to(self.actor)

    @extend_schema(
        request=serializers.NewProviderKeySerializer, responses={201: serializers.ProviderKeySerializer}
    )
    def create(self, request: Request) -> Response:
        """Store a key under a name that none has."""
        values = self.read_body(request, serializer=serializers.NewProviderKeySerializer)
        key = services.add_provider_key(actor=self.actor, **values)
        return self.answer(key.pk, status.HTTP_201_CREATED)

    @extend_schema(request=serializers.ProviderKeyValueSerializer)
    def partial_update(self, request: Request, pk: UUID) -> Response:
        """Replace a key by another value."""
        values = self.read_body(request, serializer=serializers.ProviderKeyValueSerializer)
        key = services.replace_provider_key(actor=self.actor, key=self.get_object(), **values)
        return self.answer(key.pk)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: UUID) -> Response:
        """Destroy a key."""
        services.remove_provider_key(actor=self.actor, key=self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)
