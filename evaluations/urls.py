"""The pages of the review loop."""

from django.urls import path

from evaluations.views.review import list_queues, send_image, show_history, show_queue

app_name = "review"

urlpatterns = [
    path("", list_queues, name="queue-list"),
    path("history/", show_history, name="history"),
    path("images/<uuid:assignment>/<slug:slot>", send_image, name="image"),
    path("<uuid:queue_id>/", show_queue, name="queue"),
]
