"""Monthly quotas over the API."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from generations.models import Quota
from generations.services.quotas import change_quota, create_quota
from mayagen.common.api import (
    StrictDecimalField,
    StrictFilterSet,
    StrictIntegerField,
    StrictPrimaryKeyField,
    StrictSerializer,
)
from prompts.api.views import ReadableViewSet


class QuotaSerializer(serializers.ModelSerializer):
    """A quota; without `user` it is the whole installation's, and a limit that is null limits nothing."""

    class Meta:
        model = Quota
        fields = ("id", "user", "limit_generations", "limit_usd", "created_at")


class QuotaLimitsSerializer(StrictSerializer):
    """The limits of a quota for each month, in UTC."""

    limit_generations = StrictIntegerField(required=False, allow_null=True)
    limit_usd = StrictDecimalField(max_digits=12, decimal_places=2, required=False, allow_null=True)


class NewQuotaSerializer(QuotaLimitsSerializer):
    """A quota of a person, or of the whole installation."""

    user = StrictPrimaryKeyField(queryset=User.objects.all(), required=False, allow_null=True)


class QuotaFilterSet(StrictFilterSet):
    """Quotas of a person."""

    class Meta:
        model = Quota
        fields = ("user",)


class QuotaViewSet(ReadableViewSet):
    """Quotas: seen by who sees runs, set by admins."""

    queryset = Quota.objects.none()
    serializer_class = QuotaSerializer
    filterset_class = QuotaFilterSet
    ordering_fields = ("created_at",)
    view_permission = "generations.view_quota"
    rights: ClassVar = {
        "create": "generations.add_quota",
        "partial_update": "generations.change_quota",
    }

    def get_queryset(self) -> QuerySet[Quota]:
        """Return the quotas that the caller may see."""
        return Quota.objects.visible_to(self.actor)

    @extend_schema(request=NewQuotaSerializer, responses={201: QuotaSerializer})
    def create(self, request: Request) -> Response:
        """Set limits for a person, or for the whole installation."""
        values = self.read_body(request, serializer=NewQuotaSerializer)
        given: dict[str, Any] = {"user": None, "limit_generations": None, "limit_usd": None, **values}
        return self.answer(create_quota(actor=self.actor, **given).pk, status.HTTP_201_CREATED)

    @extend_schema(request=QuotaLimitsSerializer, responses=QuotaSerializer)
    def partial_update(self, request: Request, pk: UUID) -> Response:
        """Set one limit or both."""
        quota = self.get_object()
        values = self.read_body(request, serializer=QuotaLimitsSerializer)
        limits = {name: getattr(quota, name) for name in ("limit_generations", "limit_usd")}
        return self.answer(change_quota(actor=self.actor, quota=quota, **{**limits, **values}).pk)
