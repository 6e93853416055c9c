"""Routes of the API: each app's own, the root, the description and the page to browse it."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from mayagen.api.views import DocsView, RootView, SchemaView

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RootView.as_view(), name="api-root"),
    path("schema/", SchemaView.as_view(), name="api-schema"),
    path("docs/", DocsView.as_view(), name="api-docs"),
    # The first are found soonest: the review page asks most often by far.
    path("", include("evaluations.api.urls")),
    path("", include("accounts.api.urls")),
    path("", include("prompts.api.urls")),
    path("", include("generations.api.urls")),
]
