"""What generations cost, over the API."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import User
from accounts.permissions import can
from generations.analytics.spend import GroupBy, Window, get_name, list_spend
from generations.models import MonthlySpend
from mayagen.common.api import PAGE_PARAMETERS, MomentParameterField, read_parameters


class SpendParametersSerializer(serializers.Serializer):
    """What is summed up, and by what."""

    group_by = serializers.ChoiceField(choices=[each.value for each in GroupBy])
    created_after = MomentParameterField(
        required=False, help_text="Generations made at this time or later; of months, those that begin then."
    )
    created_before = MomentParameterField(
        required=False, help_text="Generations made earlier than this; of months, those that begin earlier."
    )


class SpendSerializer(serializers.Serializer):
    """What was spent on one thing; generations of free models and those made elsewhere are left out."""

    id = serializers.UUIDField(allow_null=True, help_text="Of the run, version, model or person.")
    name = serializers.CharField(allow_blank=True, help_text="Of a month, such as `2026-11`, in UTC.")
    n_generations = serializers.IntegerField(help_text="Those that were paid.")
    cost_usd = serializers.DecimalField(max_digits=16, decimal_places=6)
    reserved_usd = serializers.DecimalField(
        max_digits=16, decimal_places=6, help_text="Held back for what has not ended or is not decided."
    )

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return the sums beside what they are of."""
        return {
            "id": None if isinstance(instance, MonthlySpend) else str(instance.pk),
            "name": get_name(instance),
            "n_generations": instance.n_generations,
            "cost_usd": f"{instance.spent_usd:.6f}",
            "reserved_usd": f"{instance.held_usd:.6f}",
        }


class MayReadSpend(BasePermission):
    """For roles that see quotas."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the caller's role sees them."""
        return can(request.user, "generations.view_quota")


@extend_schema(parameters=[SpendParametersSerializer], responses=SpendSerializer(many=True))
class SpendViewSet(mixins.ListModelMixin, GenericViewSet):
    """What was spent, one row for each run, version, model, person or month."""

    permission_classes = [IsAuthenticated, MayReadSpend]
    serializer_class = SpendSerializer
    ordering_fields: ClassVar = {"created_at": "created_at", "cost_usd": "spent_usd"}
    queryset = MonthlySpend.objects.none()
    # The parameters are read below: they choose what a row is.
    filter_backends = []

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a page of what money was spent on."""
        values = read_parameters(request, SpendParametersSerializer, besides=PAGE_PARAMETERS)
        window = Window(values.get("created_after"), values.get("created_before"))
        rows = list_spend(
            actor=cast("User", request.user), group_by=GroupBy(values["group_by"]), window=window
        )
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)
