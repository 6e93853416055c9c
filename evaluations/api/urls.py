"""The review loop's part of the API."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from evaluations.api import analytics_views, views

router = SimpleRouter(use_regex_path=False)
router.register("review-queues", views.ReviewQueueViewSet, basename="review-queue")
router.register("assignments", views.AssignmentViewSet, basename="assignment")
router.register("ratings", views.RatingViewSet, basename="rating")
router.register(
    "analytics/prompt-performance", analytics_views.PromptPerformanceViewSet, basename="prompt-performance"
)

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("analytics/ratings/", analytics_views.RatingAnalyticsView.as_view(), name="rating-analytics"),
    path("generations/<uuid:pk>/rating/", views.GenerationRatingView.as_view(), name="generation-rating"),
]
