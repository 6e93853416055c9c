"""Addresses of stored images for people who may see generations; mounted at `media/`."""

from __future__ import annotations

from django.urls import path

from generations.views import ImageFileView

app_name = "generations"

urlpatterns = [
    path("images/<uuid:image_id>/<slug:size>", ImageFileView.as_view(), name="image-file"),
]
