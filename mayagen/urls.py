"""Routes: the admin, the API, the review pages, sign-in and health."""

from django.contrib import admin
from django.urls import include, path

from generations.webhooks import receive_webhook
from mayagen import health
from mayagen.home import go_home

urlpatterns = [
    path("", go_home, name="home"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("accounts/", include("accounts.urls")),
    path("review/", include("evaluations.urls")),
    path("media/", include("generations.urls")),
    path("webhooks/<slug:provider>/<str:token>/", receive_webhook, name="webhook"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("mayagen.api.urls")),
]

handler400 = "mayagen.api.exception_handler.handler400"
handler403 = "mayagen.api.exception_handler.handler403"
handler404 = "mayagen.api.exception_handler.handler404"
handler500 = "mayagen.api.exception_handler.handler500"
