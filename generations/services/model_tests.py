"""Test an image model by one real call: a run of one generation, limited and paid for like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.db import transaction

from accounts.models import User
from accounts.permissions import require
from generations.choices import ImageRole, Priority, RunKind
from generations.media.samples import make_sample_mask, make_sample_picture
from generations.models import Generation
from generations.services.images import UploadedInput
from generations.services.runs import create_run
from prompts.choices import AspectRatio, Kind, Resolution
from prompts.models import ImageModel, Prompt, PromptVersion
from prompts.schemas import with_defaults
from prompts.services import SlugTakenError, create_prompt, create_version

DEFAULT_TEXT: Final = "A lighthouse on a rocky coast at dusk, waves below it."
PROMPT_SLUG: Final = "model-tests"
_TEMPLATE: Final = "{prompt}"
_N_VERSIONS_LOOKED_AT: Final = 50


def start_model_test(
    *,
    actor: User,
    image_model: ImageModel,
    text: str = DEFAULT_TEXT,
    parameters: Mapping[str, Any] | None = None,
) -> Generation:
    """Queue one generation of the model, before all other work, and return it.

    Its outputs are in no review queue that does not name its run. Models that edit get a sample picture,
    and a mask where they need one.

    Args:
        text: What the model is asked to draw, taken as it is.
        parameters: Completed by the model's defaults.

    Raises:
        ImageModelUnavailableError: The model is deleted or switched off.
        ParametersInvalidError: The parameters do not fit the model.
        DomainError: The refusals of `create_run`: no price is known, a quota is used up, …
    """
    require(actor, "prompts.change_imagemodel")
    with transaction.atomic():
        version = _get_version(actor, image_model, parameters or {})
        run = create_run(
            actor=actor,
            name=f"Test of {image_model.name}",
            kind=RunKind.TEST,
            prompt_versions=[version],
            variables={"prompt": text},
            input_files=_make_inputs(image_model.kind),
            priority=Priority.HIGH,
        )
    return run.generations.get()


def _get_version(actor: User, image_model: ImageModel, parameters: Mapping[str, Any]) -> PromptVersion:
    """Return the version that asks this model with these parameters, made at their first test."""
    prompt = _get_prompt(actor)
    completed = with_defaults(image_model.parameters_schema, image_model.default_parameters, parameters)
    made = PromptVersion.objects.alive().filter(
        prompt=prompt, image_model=image_model, user_prompt=_TEMPLATE, n_outputs=1
    )
    for version in made.order_by("-number")[:_N_VERSIONS_LOOKED_AT]:
        if image_model.is_active and version.parameters == completed:
            return version
    return create_version(
        actor=actor,
        prompt=prompt,
        user_prompt=_TEMPLATE,
        image_model=image_model,
        parameters=parameters,
        aspect_ratio=AspectRatio.SQUARE,
        resolution_px=Resolution.PX_1024,
        change_note=f"Test of {image_model.name}"[:500],
    )


def _get_prompt(actor: User) -> Prompt:
    found = Prompt.objects.alive().filter(slug=PROMPT_SLUG).first()
    if found is not None:
        return found
    try:
        with transaction.atomic():
            return create_prompt(
                actor=actor,
                name="Model tests",
                slug=PROMPT_SLUG,
                description="One version for each image model and set of parameters that was tested.",
            )
    except SlugTakenError:
        return Prompt.objects.alive().get(slug=PROMPT_SLUG)


def _make_inputs(kind: str) -> list[UploadedInput]:
    if kind == Kind.TEXT_TO_IMAGE:
        return []
    inputs = [UploadedInput(make_sample_picture(), ImageRole.REFERENCE)]
    if kind == Kind.INPAINTING:
        inputs.append(UploadedInput(make_sample_mask(), ImageRole.MASK))
    return inputs
