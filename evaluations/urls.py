"""The pages of the review loop."""

from django.urls import path

from evaluations.views import review

app_name = "review"

urlpatterns = [
    path("", review.list_queues, name="queue-list"),
    path("history/", review.show_history, name="history"),
    path("images/<uuid:assignment>/<slug:slot>", review.send_image, name="image"),
    path("<uuid:queue_id>/", review.show_queue, name="queue"),
]
