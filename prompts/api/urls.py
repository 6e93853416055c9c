"""Routes of prompts, versions, image models and labels."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from prompts.api import views

router = SimpleRouter(use_regex_path=False)
router.register("prompts", views.PromptViewSet, basename="prompt")
router.register("prompt-versions", views.PromptVersionViewSet, basename="prompt-version")
router.register("image-models", views.ImageModelViewSet, basename="image-model")
router.register("labels", views.LabelViewSet, basename="label")

urlpatterns = router.urls
