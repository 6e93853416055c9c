"""The review loop's part of the API."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from evaluations.api import views

router = SimpleRouter(use_regex_path=False)
router.register("review-queues", views.ReviewQueueViewSet, basename="review-queue")
router.register("assignments", views.AssignmentViewSet, basename="assignment")
router.register("ratings", views.RatingViewSet, basename="rating")

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("generations/<uuid:pk>/rating/", views.GenerationRatingView.as_view(), name="generation-rating"),
]
