"""Routes of the API: each app's own, the root, the description and the page to browse it."""

from __future__ import annotations

from importlib.util import find_spec

from django.urls import URLPattern, URLResolver, include, path

from mayagen.api.views import DocsView, RootView, SchemaView

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RootView.as_view(), name="api-root"),
    path("schema/", SchemaView.as_view(), name="api-schema"),
    path("docs/", DocsView.as_view(), name="api-docs"),
    *(
        path("", include(module))
        for module in (
            "accounts.api.urls",
            "prompts.api.urls",
            "generations.api.urls",
            "evaluations.api.urls",
        )
        if find_spec(module)
    ),
]
