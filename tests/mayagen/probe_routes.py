"""Routes of small views on real rows, to try what stands under every view of the API."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation, ValidationError
from django.db import IntegrityError, OperationalError
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import include, path
from django_filters.filters import BaseInFilter, ChoiceFilter, MultipleChoiceFilter
from rest_framework import exceptions, serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ReadOnlyModelViewSet

from generations.choices import Status
from generations.models import Generation
from mayagen.api.parsers import StrictJSONParser, StrictMultiPartParser
from mayagen.common.api import (
    IdFilter,
    MomentFilter,
    StrictBooleanFilter,
    StrictDecimalField,
    StrictFilterSet,
    StrictFloatField,
    StrictIntegerField,
    StrictModelSerializer,
    StrictNumberFilter,
    StrictQueryMixin,
    StrictSerializer,
    StrictUUIDField,
)
from mayagen.common.errors import ConflictError, DomainError

handler400 = "mayagen.api.exception_handler.handler400"
handler403 = "mayagen.api.exception_handler.handler403"
handler404 = "mayagen.api.exception_handler.handler404"
handler500 = "mayagen.api.exception_handler.handler500"


class IdsFilter(BaseInFilter, IdFilter):
    """Rows by several ids, separated by commas."""


class GenerationFilterSet(StrictFilterSet):
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte")  # type: ignore[no-untyped-call]
    rating = StrictNumberFilter(field_name="result_rating", lookup_expr="gte")  # type: ignore[no-untyped-call]
    unrated = StrictBooleanFilter(field_name="result_rating", lookup_expr="isnull")  # type: ignore[no-untyped-call]
    state = MultipleChoiceFilter(field_name="status", choices=Status.choices)
    status = ChoiceFilter(choices=Status.choices)
    ids = IdsFilter(field_name="id")  # type: ignore[no-untyped-call]

    class Meta:
        model = Generation
        fields = ["prompt_version", "repeat", "is_superseded"]


class GenerationSerializer(StrictModelSerializer):
    class Meta:
        model = Generation
        fields = ("id", "status", "seed", "result_rating", "created_at", "case_key", "prompt_version")


class GenerationViewSet(ReadOnlyModelViewSet[Generation]):
    queryset = Generation.objects.annotate(version_number=F("prompt_version__number"))
    serializer_class = GenerationSerializer
    filterset_class = GenerationFilterSet
    ordering_fields = {
        "created_at": "created_at",
        "rating": "result_rating",
        "seed": "seed",
        "key": "case_key",
        "version": "version_number",
        "model": "image_model__name",
    }


class OtherViewSet(ReadOnlyModelViewSet[Generation]):
    queryset = Generation.objects.all()
    serializer_class = GenerationSerializer


class BodySerializer(StrictSerializer):
    level = StrictIntegerField(required=False)
    share = StrictFloatField(required=False)
    cost_usd = StrictDecimalField(max_digits=8, decimal_places=2, required=False)
    version = StrictUUIDField(required=False)
    note = serializers.JSONField(required=False)


class EchoView(APIView):
    permission_classes = [AllowAny]
    parser_classes = [StrictJSONParser, StrictMultiPartParser]
    max_json_bytes = 300_000
    max_multipart_bytes = 100_000

    def post(self, request: Request) -> Response:
        if "strict" in request.query_params:
            form = BodySerializer(data=request.data)
            form.is_valid(raise_exception=True)
            return Response({name: str(value) for name, value in form.validated_data.items()})
        return Response({"body": request.data})


class PlainView(StrictQueryMixin, APIView):
    query_parameters = ("name",)

    def get(self, request: Request) -> Response:
        return Response({"name": request.query_params.get("name")})


class ThrottledView(APIView):
    permission_classes = [AllowAny]
    throttle_scope = "probe"
    throttle_rate_per_minute = 6
    throttle_burst = 2

    def get(self, request: Request) -> Response:
        return Response({})


class RaisingView(APIView):
    permission_classes = [AllowAny]
    errors: dict[str, Exception] = {
        "domain": ConflictError(fields={"label": ["It moved."]}, extra={"number": 3}),
        "domain-default": DomainError(),
        "missing": Http404(),
        "denied": PermissionDenied(),
        "validation": ValidationError({"name": ["Too short."], "__all__": ["No."]}),
        "validation-general": ValidationError("Not like this."),
        "drf": exceptions.ValidationError({"items": [{}, {"key": ["Taken."]}], "non_field_errors": ["No."]}),
        "throttled": exceptions.Throttled(wait=2.2),
        "anonymous": exceptions.NotAuthenticated(),
        "suspicious": SuspiciousOperation("secret detail"),
        "operational": OperationalError("connection to 10.0.0.7 refused"),
        "integrity": IntegrityError("duplicate key"),
        "defect": RuntimeError("secret detail"),
    }

    def get(self, request: Request, name: str) -> Response:
        raise self.errors[name]


class StrangeView(APIView):
    permission_classes = [AllowAny]

    def get(self, request: Request) -> Response:
        return Response(status=204)


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("secret detail")


def deny(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied("secret detail")


def own_policy(request: HttpRequest) -> HttpResponse:
    return HttpResponse(headers={"Content-Security-Policy": "sandbox"})


router = SimpleRouter()
router.register("generations", GenerationViewSet, basename="probe-generation")
router.register("others", OtherViewSet, basename="probe-other")

api_patterns: list[Any] = [
    path("", include(router.urls)),
    path("echo/", EchoView.as_view()),
    path("plain/", PlainView.as_view()),
    path("throttled/", ThrottledView.as_view()),
    path("strange/", StrangeView.as_view()),
    path("raise/<str:name>/", RaisingView.as_view()),
    path("fail/", fail),
    path("deny/", deny),
]
admin_patterns: list[Any] = [path("page/", StrangeView.as_view()), path("fail/", fail)]

urlpatterns = [
    path("api/v1/", include(api_patterns)),
    path("admin/", include((admin_patterns, "admin"))),
    path("own-policy/", own_policy),
    path("page/fail/", fail),
]
