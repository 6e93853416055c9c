"""Forms of the admin's prompt pages."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from prompts.choices import Provider
from prompts.models import ImageModel, Prompt, PromptVersion, ProviderKey

_JSON_SENTENCE = "This is not a JSON object. Write it like {example}. {fault}"


class TagsField(forms.CharField):
    """Tags with commas between them."""

    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        """Show a list as text."""
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """Return the list of what was typed."""
        text = super().to_python(value) or ""
        return [tag.strip() for tag in text.split(",") if tag.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare as text."""
        return bool(super().has_changed(self.prepare_value(initial), data))

    def run_validators(self, value: Any) -> None:
        """Check the text's own rules; the verb checks the tags."""
        super().run_validators(", ".join(value))


class JSONObjectField(forms.JSONField):
    """A JSON object, shown with its parts on lines of their own; nothing is an empty one."""

    widget = UnfoldAdminTextareaWidget
    example = '{"style": "waves"}'

    def prepare_value(self, value: Any) -> Any:
        """Show indented what is not just the text that was typed."""
        if isinstance(value, str):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False) if value else "{}"

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Keep the typed text as it is."""
        return initial if self.disabled else data

    def to_python(self, value: Any) -> Any:
        """Return the object.

        Raises:
            ValidationError: The text is something else.
        """
        if value is None or not str(value).strip():
            return {}
        try:
            parsed = json.loads(value, object_pairs_hook=_build_object, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            fault = f"At line {error.lineno}, column {error.colno}: {error.msg}."
            raise ValidationError(self._say(fault)) from None
        except (ValueError, RecursionError) as error:
            fault = (
                str(error) if isinstance(error, _RefusedValueError) else "A value is too long or too deep."
            )
            raise ValidationError(self._say(fault)) from None
        if not isinstance(parsed, dict):
            raise ValidationError(self._say("It must start with { and end with }."))
        return parsed

    def _say(self, fault: str) -> str:
        return _JSON_SENTENCE.format(example=self.example, fault=fault)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare what the texts mean."""
        try:
            return bool(self.to_python(data) != (initial or {}))
        except ValidationError:
            return True


class JSONSchemaField(JSONObjectField):
    """A JSON Schema, whose example is one."""

    example = '{"properties": {"style": {"type": "string", "enum": ["waves", "dots"]}}}'


class _RefusedValueError(ValueError):
    """JSON that Python would read although it means nothing certain."""


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise _RefusedValueError("A name stands twice in one object.")
    return built


def _refuse_constant(name: str) -> Any:
    raise _RefusedValueError(f"{name} is no JSON.")


class PromptForm(forms.ModelForm):
    """A prompt."""

    tags = TagsField(required=False, help_text="Separated by commas.")

    class Meta:
        model = Prompt
        fields = ("name", "slug", "description", "tags")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "description" in self.fields:
            self.fields["description"].widget.attrs["rows"] = 3
        if "slug" in self.fields:
            self.fields["slug"].required = False
            self.fields["slug"].help_text = "Used in addresses and the API; made from the name if left empty."


class VersionForm(forms.ModelForm):
    """A version: a new one, or one whose change is saved in place or as a new one."""

    parent = forms.ModelChoiceField(
        queryset=PromptVersion.objects.all(), required=False, widget=forms.HiddenInput
    )
    parameters = JSONObjectField(required=False, help_text="What the image model is told besides, as JSON.")

    class Meta:
        model = PromptVersion
        fields = (
            "prompt",
            "parent",
            "user_prompt",
            "system_prompt",
            "negative_prompt",
            "change_note",
            "image_model",
            "aspect_ratio",
            "resolution_px",
            "n_outputs",
            "temperature",
            "parameters",
        )
        help_texts = {
            "user_prompt": "Variables stand between braces, such as {subject}; {{ and }} are plain braces.",
            "change_note": "What is different from the version before, and why.",
            "n_outputs": "How many images one request makes.",
            "temperature": "0 to 2, for models that take one.",
        }
        labels = {"resolution_px": "Resolution", "n_outputs": "Images"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in {"system_prompt", "negative_prompt", "parameters"} & self.fields.keys():
            self.fields[name].widget.attrs["rows"] = 4
        if "image_model" in self.fields:
            models = ImageModel.objects.active()
            if self.instance.image_model_id:
                models = ImageModel.objects.filter(pk=self.instance.image_model_id) | models
            self.fields["image_model"].queryset = models.order_by("name", "id")  # type: ignore[attr-defined]
        if self.instance.is_used:
            # What is saved is a new version, with a note of its own.
            self.initial["change_note"] = ""
        if "prompt" in self.fields:
            prompts = Prompt.objects.alive().order_by("name", "id")
            self.fields["prompt"].queryset = prompts  # type: ignore[attr-defined]


class ImageModelForm(forms.ModelForm):
    """A catalogue entry."""

    provider = forms.ChoiceField(
        choices=Provider.choices,
        widget=UnfoldAdminSelectWidget,
        help_text="Whose API is spoken; it decides what stands below.",
    )
    # A name inside a network, such as http://sd-webui:7860, is an address too; the verb checks it.
    base_url = forms.CharField(
        required=False,
        max_length=300,
        label="Base URL",
        widget=UnfoldAdminTextInputWidget,
        help_text="Address of the API; the provider's own when empty.",
    )
    provider_options = JSONObjectField(
        required=False, help_text='As JSON, such as {"api_version": "…"} for Azure OpenAI; never keys.'
    )
    parameters_schema = JSONSchemaField(
        required=False,
        label="Parameters, as JSON Schema",
        help_text="What a version may set besides its prompt and size; its form offers these by name.",
    )
    default_parameters = JSONObjectField(
        required=False, help_text="As JSON; taken where a version does not set a parameter."
    )

    class Meta:
        model = ImageModel
        fields = (
            "name",
            "slug",
            "description",
            "kind",
            "provider",
            "endpoint",
            "base_url",
            "credential_name",
            "provider_options",
            "parameters_schema",
            "default_parameters",
            "max_outputs",
            "max_inputs",
            "price_usd",
            "is_free",
            "max_in_flight",
            "rate_per_minute",
            "timeout_seconds",
            "max_attempts",
            "repeats_unknown",
            "is_active",
        )
        help_texts = {
            "credential_name": "NAME of a stored provider key, or of the environment variable"
            " MAYAGEN_PROVIDER_KEY_NAME, which goes first.",
            "is_active": "Versions may use it, and runs may be launched.",
            "max_outputs": "In one request.",
            "max_inputs": "In one request; 0 if it takes none.",
            "rate_per_minute": "No limit if empty.",
            "timeout_seconds": "How long a request may take before it counts as failed.",
            "max_attempts": "Calls for one generation, the first included, while failures look temporary.",
            "is_free": "Nothing is reserved or counted.",
            "price_usd": "For one image. Before it has a price, or is marked free, nothing can be launched.",
        }
        labels = {
            "is_active": "Active",
            "credential_name": "Name of the key",
            "max_outputs": "Images made, at most",
            "max_inputs": "Images taken, at most",
            "rate_per_minute": "Requests a minute",
            "timeout_seconds": "Time limit (seconds)",
            "max_attempts": "Attempts",
            "is_free": "Free",
            "price_usd": "Price (US dollars)",
            "max_in_flight": "Requests at once",
            "repeats_unknown": "Repeat unknown outcomes",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in {"description", "provider_options", "default_parameters"} & self.fields.keys():
            self.fields[name].widget.attrs["rows"] = 4
        if "slug" in self.fields:
            self.fields["slug"].required = False
            self.fields["slug"].help_text = "Used in the API; made from the name if left empty."

    def _get_validation_exclusions(self) -> set[str]:
        # Django's URL field knows no names of one part, such as http://sd-webui:7860.
        return {*super()._get_validation_exclusions(), "base_url"}  # type: ignore[misc] # not in the stubs


class ProviderKeyForm(forms.ModelForm):
    """A key's name and its value, which no page ever shows again."""

    value = forms.CharField(
        max_length=8_192,
        strip=True,
        label="Key",
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Stored sealed and never shown again; what is typed here replaces what was stored.",
    )

    class Meta:
        model = ProviderKey
        fields = ("name",)
        help_texts = {"name": "By which image models refer to it, such as OPENAI."}
