"""Providers' keys: set and replaced here, never shown."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import display

from accounts.models import User
from mayagen.common.admin import ProductModelAdmin
from prompts import services
from prompts.forms import ProviderKeyForm
from prompts.models import ProviderKey
from prompts.selectors import describe_key_source


@admin.register(ProviderKey)
class ProviderKeyAdmin(ProductModelAdmin):
    """Stored keys by name; a value goes in and does not come out."""

    form = ProviderKeyForm
    list_display = ("name", "source", "set_at", "author")
    list_select_related = ("set_by",)
    search_fields = ("name",)
    ordering = ("name",)

    def get_fields(self, request: HttpRequest, obj: ProviderKey | None = None) -> tuple[str, ...]:
        return ("name", "value") if obj is None else ("name", "source", "set_at", "value")

    def get_readonly_fields(self, request: HttpRequest, obj: ProviderKey | None = None) -> tuple[str, ...]:
        return () if obj is None else ("name", "source", "set_at")

    @method_decorator(sensitive_post_parameters("value"))
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["show_save_and_add_another"] = context["show_save_and_continue"] = False
        return super().render_change_form(request, context, *args, **kwargs)

    def save_by_service(self, request: HttpRequest, form: forms.ModelForm, target: Any | None) -> ProviderKey:
        actor, value = cast("User", request.user), form.cleaned_data["value"]
        if target is None:
            return services.add_provider_key(actor=actor, name=form.cleaned_data["name"], value=value)
        return services.replace_provider_key(actor=actor, key=target, value=value)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        key: ProviderKey = self.get_visible(request, object_id)
        if not self.has_delete_permission(request, key):
            raise PermissionDenied
        return self.confirm(
            request,
            title="Remove provider key",
            sentence=f"The key “{key}” will be destroyed. Image models that name it make nothing until there"
            " is another key of this name.",
            button="Remove the key",
            is_dangerous=True,
            verb=lambda: services.remove_provider_key(actor=cast("User", request.user), key=key),
            done=f"The key “{key}” was removed.",
            back=self.url_of("changelist"),
            under=key,
        )

    @display(description="In use", label={"stored": "success", "environment": "warning"})
    def source(self, key: ProviderKey) -> str:
        """Whether calls use this key, or one of the same name in the environment, which goes first."""
        return describe_key_source(key.name, stored={key.name})

    @display(description="Set by")
    def author(self, key: ProviderKey) -> str:
        """Who set it last, if they have given a name."""
        return key.set_by.name if key.set_by and key.set_by.name else "–"
