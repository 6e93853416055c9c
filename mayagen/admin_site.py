"""The admin site: its title, its landing page, and the rule of what may be in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.sites import UnfoldAdminSite

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

    def register(
        self, model_or_iterable: type[Model] | Iterable[type[Model]], *args: Any, **kwargs: Any
    ) -> None:
        """Register the models of the product's own apps; pass over any other."""
        models = [model_or_iterable] if isinstance(model_or_iterable, type) else list(model_or_iterable)
        own = [model for model in models if model._meta.app_label in PRODUCT_APPS]
        if own:
            super().register(own, *args, **kwargs)
