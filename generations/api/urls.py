"""Routes of datasets, runs and generations."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from generations.api.dataset_views import DatasetViewSet
from generations.api.generation_views import GenerationViewSet
from generations.api.health_views import ProviderHealthViewSet
from generations.api.import_views import DatasetImportViewSet
from generations.api.model_test_views import ModelTestViewSet
from generations.api.quota_views import QuotaViewSet
from generations.api.run_views import RunViewSet
from generations.api.spend_views import SpendViewSet

router = SimpleRouter(use_regex_path=False)
router.register("datasets", DatasetViewSet, basename="dataset")
router.register("dataset-imports", DatasetImportViewSet, basename="dataset-import")
router.register("runs", RunViewSet, basename="run")
router.register("generations", GenerationViewSet, basename="generation")
router.register("quotas", QuotaViewSet, basename="quota")
router.register("analytics/spend", SpendViewSet, basename="spend")
router.register("provider-health", ProviderHealthViewSet, basename="provider-health")

urlpatterns = [
    *router.urls,
    path("image-models/<uuid:pk>/test/", ModelTestViewSet.as_view({"post": "test"}), name="image-model-test"),
]
