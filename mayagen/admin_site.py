"""The admin site: its title, its landing page, and the rule of what may be in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.sites import UnfoldAdminSite

from mayagen.navigation import find

PRODUCT_APPS = frozenset({"accounts", "prompts", "generations", "evaluations"})


class MayagenAdminSite(UnfoldAdminSite):
    """The product's admin; it shows the product's own models and no others.

    Whoever can write the queue's schedules or read its pickled results can run code in every worker, so
    the models of django-q2, like those of sessions, groups and sign-in, are kept out here, whatever
    their packages register.
    """

    site_title = "MayaGen"
    site_header = "MayaGen"
    index_title = "Overview"
    enable_nav_sidebar = True

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Send strangers to the product's own sign-in page, where guessing is limited, and back here.

        Raises:
            PermissionDenied: The visitor is signed in, and their role has nothing to do in the admin.
        """
        if self.has_permission(request):
            return redirect(f"{self.name}:index")
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.GET.get(REDIRECT_FIELD_NAME) or reverse(f"{self.name}:index"))

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send people to the product's own page for it, which limits guessing and writes the audit entry."""
        return redirect("account_change_password")

    def extra_urls(self) -> list[URLPattern]:
        """Return the pages that belong to no model."""
        from evaluations.views.analytics import show_analytics
        from evaluations.views.dashboard import show_overview
        from generations.admin.quotas import show_spending
        from mayagen.queue_status import show_queue_status

        return [
            path("analytics/", self.admin_view(show_analytics), name="analytics"),
            path("spending/", self.admin_view(show_spending), name="spending"),
            path("overview/", self.admin_view(show_overview), name="overview"),
            path("queue-status/", self.admin_view(show_queue_status), name="queue-status"),
        ]

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Answer the search field of the sidebar; nothing is kept from one search to the next."""
        found = Paginator(find(request, request.GET.get("s", "")), per_page=100)
        is_extended = "extended" in request.GET
        template = (
            "unfold/helpers/command_results.html" if is_extended else "unfold/helpers/search_results.html"
        )
        context = {"page_obj": found, "results": found.page(1), "page_counter": 0, "execution_time": 0}
        return TemplateResponse(request, template, context, headers={"HX-Trigger": "search"})

    def register(
        self, model_or_iterable: type[Model] | Iterable[type[Model]], *args: Any, **kwargs: Any
    ) -> None:
        """Register the models of the product's own apps; pass over any other."""
        models = [model_or_iterable] if isinstance(model_or_iterable, type) else list(model_or_iterable)
        own = [model for model in models if model._meta.app_label in PRODUCT_APPS]
        if own:
            super().register(own, *args, **kwargs)
