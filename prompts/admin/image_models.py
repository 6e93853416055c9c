"""The catalogue of image models."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.decorators import display

from accounts.models import User
from accounts.permissions import can
from mayagen.common.admin import DeletedFilter, SoftDeleteModelAdmin
from prompts import services
from prompts.admin import shared
from prompts.forms import ImageModelForm
from prompts.models import ImageModel, ProviderKey
from prompts.selectors import describe_key_source

PRIVATE_FIELDSET = "Connection"


@admin.register(ImageModel)
class ImageModelAdmin(SoftDeleteModelAdmin):
    """Image models; how one is reached is shown to those who may change it."""

    form = ImageModelForm
    list_display = ("name", "provider_name", "kind", "state", "price", "at_once", "images_made")
    list_filter = (DeletedFilter, "kind", "is_active")
    search_fields = ("name", "slug", "description")
    ordering = ("name", "id")
    change_form_template = "admin/prompts/imagemodel/change_form.html"
    fieldsets = (
        (None, {"fields": (("name", "slug"), "description", ("kind", "is_active"))}),
        (
            PRIVATE_FIELDSET,
            {"fields": ("provider", "endpoint", "base_url", "credential_name", "provider_options")},
        ),
        ("Parameters", {"fields": ("parameters_schema", "default_parameters")}),
        ("Limits", {"fields": (("max_outputs", "max_inputs"), ("max_in_flight", "rate_per_minute"))}),
        ("Time and retries", {"fields": (("timeout_seconds", "max_attempts"), "repeats_unknown")}),
        ("Price", {"fields": (("is_free", "price_usd"),)}),
    )

    class Media:
        css = {"all": ("prompts/admin.css",)}

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        # By the role, not by this row: a deleted model can't be changed, and an admin still reads it.
        if admin.ModelAdmin.has_change_permission(self, request):
            return fieldsets
        return [fieldset for fieldset in fieldsets if fieldset[0] != PRIVATE_FIELDSET]

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["show_save_and_add_another"] = context["show_save_and_continue"] = False
        context["may_restore"] = self.may_delete(request)
        if (model := kwargs.get("obj")) is not None:
            context["test_url"] = shared.test_url(model, cast("User", request.user))
            context["key_state"] = self._describe_key(request, model)
        return super().render_change_form(request, context, *args, **kwargs)

    def _describe_key(self, request: HttpRequest, model: ImageModel) -> str:
        if not model.credential_name or not can(request.user, "prompts.view_providerkey"):
            return ""
        stored = ProviderKey.objects.filter(name=model.credential_name).values_list("name", flat=True)
        return describe_key_source(model.credential_name, stored=list(stored))

    def save_by_service(self, request: HttpRequest, form: forms.ModelForm, target: Any | None) -> ImageModel:
        actor = cast("User", request.user)
        if target is None:
            return services.create_image_model(actor=actor, **form.cleaned_data)
        return services.change_image_model(actor=actor, image_model=target, **form.cleaned_data)

    def response_post_save_add(self, request: HttpRequest, obj: Any) -> HttpResponseRedirect:
        """Go on to the model's page, which says whether its key is there and leads to a test."""
        return HttpResponseRedirect(self.url_of("change", obj.pk))

    def soft_delete(self, request: HttpRequest, target: ImageModel) -> None:
        services.delete_image_model(actor=cast("User", request.user), image_model=target)

    def restore(self, request: HttpRequest, target: ImageModel) -> None:
        services.restore_image_model(actor=cast("User", request.user), image_model=target)

    @display(description="Provider", ordering="provider")
    def provider_name(self, model: ImageModel) -> str:
        """The provider's short name."""
        return model.provider

    @display(description="State", label={"Active": "success", "Off": "warning", "Deleted": "danger"})
    def state(self, model: ImageModel) -> str:
        """Whether versions may use it."""
        if model.is_deleted:
            return "Deleted"
        return "Active" if model.is_active else "Off"

    @display(description="Requests at once", ordering="max_in_flight")
    def at_once(self, model: ImageModel) -> int:
        """How many may be under way."""
        return model.max_in_flight

    @display(description="Images a request", ordering="max_outputs")
    def images_made(self, model: ImageModel) -> int:
        """How many one request may make."""
        return model.max_outputs

    @display(description="Price of an image", ordering="price_usd")
    def price(self, model: ImageModel) -> str:
        """For one output."""
        if model.is_free:
            return "free"
        return f"${model.price_usd.normalize():f}" if model.price_usd is not None else "unknown"
