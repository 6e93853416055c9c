"""Routes of prompts, versions, image models, their keys and labels."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from prompts.api import views
from prompts.api.provider_key_views import ProviderKeyViewSet

router = SimpleRouter(use_regex_path=False)
router.register("prompts", views.PromptViewSet, basename="prompt")
router.register("prompt-versions", views.PromptVersionViewSet, basename="prompt-version")
router.register("image-models", views.ImageModelViewSet, basename="image-model")
router.register("provider-keys", ProviderKeyViewSet, basename="provider-key")
router.register("labels", views.LabelViewSet, basename="label")

urlpatterns = router.urls
