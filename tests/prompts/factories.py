"""Rows of the prompts app, each the least that is valid."""

from __future__ import annotations

from typing import Any

import factory
from django.conf import settings
from django.utils import timezone
from factory.django import DjangoModelFactory

from prompts.choices import Provider
from prompts.models import ImageModel, Label, Prompt, PromptVersion, ProviderKey
from prompts.sealing import Sealer

RENDERER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "style": {"type": "string", "enum": ["shapes", "waves", "bokeh"], "default": "shapes"},
        "palette": {"type": "string", "maxLength": 40},
        "detail": {"type": "integer", "minimum": 1, "maximum": 10, "default": 5},
        "contrast": {"type": "number", "minimum": 0, "maximum": 2},
        "grain": {"type": "boolean"},
    },
    "additionalProperties": False,
}


class ImageModelFactory(DjangoModelFactory):
    """A free entry of the embedded renderer; trait `paid` is one of a paid provider."""

    class Meta:
        model = ImageModel

    class Params:
        paid = factory.Trait(
            provider=Provider.OPENAI,
            endpoint="gpt-image-1",
            base_url="https://images.example.com/v1",
            credential_name="OPENAI",
            provider_options={"api_version": "2025-04-01"},
            is_free=False,
            price_usd="0.040000",
        )
        deleted = factory.Trait(deleted_at=factory.LazyFunction(timezone.now))

    name = factory.Sequence(lambda n: f"Renderer {n}")
    slug = factory.Sequence(lambda n: f"renderer-{n}")
    provider = Provider.EMBEDDED
    endpoint = "renderer"
    parameters_schema = factory.LazyFunction(lambda: dict(RENDERER_SCHEMA))
    default_parameters = factory.LazyFunction(lambda: {"detail": 4})
    max_outputs = 4
    max_inputs = 4
    is_free = True


class PromptFactory(DjangoModelFactory):
    """A prompt without versions."""

    class Meta:
        model = Prompt

    class Params:
        deleted = factory.Trait(deleted_at=factory.LazyFunction(timezone.now))

    name = factory.Sequence(lambda n: f"Product photo {n}")
    slug = factory.Sequence(lambda n: f"product-photo-{n}")


class PromptVersionFactory(DjangoModelFactory):
    """A version that no generation has used; trait `used` freezes it.

    Without `prompt` each is the first of a prompt of its own; with it, give `number` or get the next.
    """

    class Meta:
        model = PromptVersion

    class Params:
        used = factory.Trait(first_used_at=factory.LazyFunction(timezone.now))
        deleted = factory.Trait(deleted_at=factory.LazyFunction(timezone.now))

    prompt = factory.SubFactory(PromptFactory)
    number = factory.LazyAttribute(lambda version: version.prompt.versions.count() + 1)
    user_prompt = "A photo of {subject}, soft light"
    image_model = factory.SubFactory(ImageModelFactory)
    parameters = factory.LazyFunction(lambda: {"style": "shapes", "detail": 4})


class LabelFactory(DjangoModelFactory):
    """The label `production` on a version of its own."""

    class Meta:
        model = Label

    version = factory.SubFactory(PromptVersionFactory)
    prompt = factory.SelfAttribute("version.prompt")
    name = "production"


class ProviderKeyFactory(DjangoModelFactory):
    """A stored key; `value=` gives what is sealed."""

    class Meta:
        model = ProviderKey

    name = factory.Sequence(lambda n: f"KEY_{n}")

    @classmethod
    def _adjust_kwargs(cls, **kwargs: Any) -> dict[str, Any]:
        value, sealer = kwargs.pop("value", "sk-stored"), Sealer(settings.SEALING_KEYS)
        sealed = sealer.seal(name=kwargs["name"], secret=value)
        return {"sealed_value": sealed, "sealing_key_id": sealer.key_id, **kwargs}
