"""The page that tests an image model by one real call, and shows what the tests before came to."""

from __future__ import annotations

from typing import Any, Final, cast
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.models import User
from accounts.permissions import can
from generations import selectors
from generations.admin import shared
from generations.choices import RunKind, Status
from generations.forms import ModelTestForm
from generations.models import Generation
from generations.services.model_tests import DEFAULT_TEXT, start_model_test
from mayagen.common.errors import DomainError
from prompts.models import ImageModel

N_TESTS_SHOWN: Final = 8
TEMPLATE: Final = "admin/generations/run/test_model.html"


class ModelTestPages:
    """Part of the admin of runs."""

    def test_model_view(self, request: HttpRequest, model_id: UUID) -> HttpResponse:
        """Ask what the model shall draw, or queue that and go where its picture will be."""
        user = cast("User", request.user)
        if not (can(user, "prompts.change_imagemodel") and can(user, "generations.add_run")):
            raise PermissionDenied
        image_model = ImageModel.objects.visible_to(user).filter(pk=model_id).first()
        if image_model is None:
            raise Http404
        form = ModelTestForm(request.POST or None, initial={"text": DEFAULT_TEXT, "parameters": {}})
        if request.method == "POST" and form.is_valid():
            try:
                generation = start_model_test(actor=user, image_model=image_model, **form.cleaned_data)
            except DomainError as error:
                form.add_refusal(error)
            else:
                messages.success(request, "The call is queued. What comes of it appears here by itself.")
                address = reverse("admin:generations_generation_change", args=[generation.pk])
                return HttpResponseRedirect(address)
        scripts: list[Any] = [forms.Script("prompts/parameters.js", type="module")]
        context = {
            **self.describe_page(request, "Test", under=image_model),  # type: ignore[attr-defined]
            "form_media": forms.Media(js=scripts),
            "form": form,
            "image_model": image_model,
            "tests": _list_tests(user, image_model),
            "model_schemas": _describe_schema(image_model),
        }
        return TemplateResponse(request, TEMPLATE, context)


def _list_tests(user: User, image_model: ImageModel) -> list[tuple[Generation, str]]:
    """Return the model's newest tests with the look of their status."""
    tests = selectors.with_images(
        Generation.objects.visible_to(user).filter(image_model=image_model, run__kind=RunKind.TEST)
    )
    newest = tests.order_by("-id")[:N_TESTS_SHOWN]
    return [(generation, shared.CHIP_CLASSES[Status(generation.status)]) for generation in newest]


def _describe_schema(image_model: ImageModel) -> dict[str, Any]:
    described = {"schema": image_model.parameters_schema, "defaults": image_model.default_parameters}
    return {str(image_model.pk): described}
