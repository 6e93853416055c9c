"""Analytics of ratings: over time, and by version of a prompt."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts.models import User
from accounts.permissions import can
from evaluations.analytics.history import get_rating_history
from evaluations.analytics.performance import list_performance, list_versions, with_mean_level, with_n_ratings
from evaluations.api import analytics_serializers as serializers
from evaluations.api.analytics_filters import (
    HistoryParametersSerializer,
    ScopeParametersSerializer,
    read_history,
    read_scope,
)
from mayagen.common.api import PAGE_PARAMETERS, read_parameters
from prompts.models import PromptVersion

_ANNOTATIONS = {"mean": with_mean_level, "n_ratings": with_n_ratings}


class MayReadAnalytics(BasePermission):
    """For roles that read rating analytics."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the caller's role reads them."""
        return can(request.user, "evaluations.view_analytics")


class RatingAnalyticsView(APIView):
    """Ratings by level and over time."""

    permission_classes = [IsAuthenticated, MayReadAnalytics]

    @extend_schema(
        operation_id="analytics_ratings_retrieve",
        parameters=[HistoryParametersSerializer],
        responses=serializers.RatingAnalyticsSerializer,
    )
    def get(self, request: Request) -> Response:
        """Return mean and distribution of the ratings, in all and for each period."""
        values = read_parameters(request, HistoryParametersSerializer)
        period, zone = read_history(values)
        scope, scale = read_scope(values)
        history = get_rating_history(scope=scope, scale=scale, period=period, zone=zone)
        return Response(
            serializers.present_history(history, scale=scale, period=period, time_zone=values["time_zone"])
        )


@extend_schema(
    parameters=[ScopeParametersSerializer], responses=serializers.PromptPerformanceSerializer(many=True)
)
class PromptPerformanceViewSet(mixins.ListModelMixin, GenericViewSet):
    """How the versions of prompts are rated, one row each."""

    permission_classes = [IsAuthenticated, MayReadAnalytics]
    serializer_class = serializers.PromptPerformanceSerializer
    ordering_fields: ClassVar = {
        "created_at": "created_at",
        "number": "number",
        "mean": "mean_level",
        "n_ratings": "n_ratings",
    }
    queryset = PromptVersion.objects.none()
    # The parameters are read below: they choose ratings as well as rows.
    filter_backends = []

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a page of versions with generations, outputs, ratings and their intervals."""
        values = read_parameters(request, ScopeParametersSerializer, besides=PAGE_PARAMETERS)
        scope, scale = read_scope(values)
        versions: Any = list_versions(actor=cast("User", request.user), scope=scope)
        annotate = _ANNOTATIONS.get(request.query_params.get("ordering", "").removeprefix("-"))
        if annotate is not None:
            versions = annotate(versions, scope, scale)
        page = cast("list[PromptVersion]", self.paginate_queryset(versions))
        rows = list_performance(page, scope=scope, scale=scale)
        return self.get_paginated_response(
            [serializers.present_performance(row, scale=scale) for row in rows]
        )
