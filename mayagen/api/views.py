"""The API's own pages: its root, its description and the page to browse it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, reverse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class RootView(APIView):
    """Lists the addresses of the API that take no id."""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        """Return each path below the root with its address."""
        from mayagen.api.urls import urlpatterns

        root = reverse("api-root")
        paths = sorted(set(_list_paths(urlpatterns)) - {""})
        return Response({path.rstrip("/"): request.build_absolute_uri(root + path) for path in paths})


class SchemaView(SpectacularAPIView):
    """The OpenAPI description, which holds no data and so needs no sign-in."""

    permission_classes = [AllowAny]
    authentication_classes: list[Any] = []


class DocsView(SpectacularSwaggerSplitView):
    """The page to browse and try the API; it runs under the strict content security policy, offline."""

    permission_classes = [AllowAny]
    url_name = "api-schema"
    template_name = "mayagen/api_docs.html"
    title = "MayaGen API"


def _list_paths(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
    """Yield the paths that hold no parameter; routers write theirs as regular expressions."""
    for pattern in patterns:
        route = str(pattern.pattern).removeprefix("^").removesuffix("$")
        if "<" in route or "\\" in route:
            continue
        if isinstance(pattern, URLResolver):
            yield from _list_paths(pattern.url_patterns, prefix + route)
        else:
            yield prefix + route
