"""Routes of datasets, runs and generations."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from generations.api.dataset_views import DatasetViewSet
from generations.api.generation_views import GenerationViewSet
from generations.api.run_views import RunViewSet

router = SimpleRouter(use_regex_path=False)
router.register("datasets", DatasetViewSet, basename="dataset")
router.register("runs", RunViewSet, basename="run")
router.register("generations", GenerationViewSet, basename="generation")

urlpatterns = router.urls
