"""Provider health: which addresses are not called at the moment, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.formats import localize
from django.utils.timezone import localtime
from unfold.decorators import display

from accounts.models import User
from accounts.permissions import can
from generations import selectors
from generations.choices import BreakerState
from generations.models import ProviderHealth
from generations.services.health import close_breaker
from mayagen.common.admin import ProductModelAdmin

_RIGHT: Final = "generations.change_providerhealth"
_LABELS: Final = {"Calls are made": "success", "Work waits": "danger", "Being tried": "warning"}
_NAMES: Final = {
    BreakerState.CLOSED: "Calls are made",
    BreakerState.OPEN: "Work waits",
    BreakerState.HALF_OPEN: "Being tried",
}


@admin.register(ProviderHealth)
class ProviderHealthAdmin(ProductModelAdmin):
    """Provider addresses that were ever in trouble; nobody edits them, but work may be let go on."""

    list_display = (
        "address", "shown_state", "failures", "waits_until", "failed_at", "why", "last_error_message",
    )  # fmt: skip
    list_filter = ("state",)
    ordering = ("-last_failed_at",)
    actions = ("close_now",)
    list_before_template = "admin/generations/providerhealth/about.html"
    change_form_template = "admin/generations/providerhealth/change_form.html"

    class Media:
        css = {"all": ("prompts/admin.css",)}

    def get_list_display(self, request: HttpRequest) -> Any:
        """Where a provider is reached is for those who may do something about it."""
        shown = super().get_list_display(request)
        return shown if can(request.user, _RIGHT) else ("provider", *shown[1:])

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*self.get_list_display(request), "held_back_since")

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        health = kwargs.get("obj")
        is_held_back = health is not None and health.state != BreakerState.CLOSED
        context["may_close"] = is_held_back and self.has_close_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    @display(description="provider")
    def address(self, health: ProviderHealth) -> str:
        return f"{health.provider} at {health.base_url}" if health.base_url else health.provider

    @display(description="state", label=_LABELS)
    def shown_state(self, health: ProviderHealth) -> str:
        return _NAMES[BreakerState(health.state)]

    @display(description="failures in a row", ordering="n_failures")
    def failures(self, health: ProviderHealth) -> int:
        return health.n_failures

    @display(description="not called before", ordering="blocked_until")
    def waits_until(self, health: ProviderHealth) -> str | None:
        return _say_when(health.blocked_until)

    @display(description="last failure", ordering="last_failed_at")
    def failed_at(self, health: ProviderHealth) -> str | None:
        return _say_when(health.last_failed_at)

    @display(description="why", ordering="last_error_code")
    def why(self, health: ProviderHealth) -> str:
        return selectors.get_error_label(health.last_error_code)

    @display(description="not called since", ordering="opened_at")
    def held_back_since(self, health: ProviderHealth) -> str | None:
        return _say_when(health.opened_at)

    @admin.action(description="Let work go on now", permissions=["close"])
    def close_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        actor = cast("User", request.user)
        self.run_for_each(
            request,
            queryset,
            lambda health: close_breaker(actor=actor, health=health),
            done="let go on",
        )

    def has_close_permission(self, request: HttpRequest) -> bool:
        return can(request.user, _RIGHT)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _say_when(at: datetime | None) -> str | None:
    """Return a time as lists show it; the page of one row would show Python's."""
    return None if at is None else localize(localtime(at))
