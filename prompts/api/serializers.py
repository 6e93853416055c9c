"""The API's shapes of prompts, versions, image models and labels."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.permissions import can
from mayagen.common.api import (
    StrictDecimalField,
    StrictIntegerField,
    StrictPrimaryKeyField,
    StrictSerializer,
)
from prompts.choices import AspectRatio, Kind, OutputType, Provider, Resolution
from prompts.models import ImageModel, Label, Prompt, PromptVersion, ProviderKey
from prompts.selectors import describe_key_source, list_version_variables

# Who knows these knows where a provider is reached and by which key; readers need neither.
PRIVATE_MODEL_FIELDS = ("endpoint", "base_url", "credential_name", "provider_options")


class LabelSerializer(serializers.ModelSerializer):
    """A label and where it points."""

    version_number = serializers.IntegerField(source="version.number", read_only=True)

    class Meta:
        model = Label
        fields = ("id", "prompt", "name", "version", "version_number", "created_at", "updated_at")


class PromptSerializer(serializers.ModelSerializer):
    """A prompt with what its versions come to."""

    n_versions = serializers.IntegerField(read_only=True, help_text="Versions that are not deleted.")
    newest_version = serializers.UUIDField(source="newest_version_id", read_only=True, allow_null=True)
    newest_number = serializers.IntegerField(read_only=True, allow_null=True)
    labels = LabelSerializer(many=True, read_only=True)

    class Meta:
        model = Prompt
        fields = (
            "id",
            "slug",
            "name",
            "description",
            "tags",
            "n_versions",
            "newest_version",
            "newest_number",
            "labels",
            "created_by",
            "created_at",
            "deleted_at",
        )


class PromptVersionSerializer(serializers.ModelSerializer):
    """A version with the variables that its templates use and the labels that point to it."""

    prompt_slug = serializers.CharField(source="prompt.slug", read_only=True)
    image_model_slug = serializers.CharField(source="image_model.slug", read_only=True)
    variables = serializers.SerializerMethodField()
    labels: serializers.SlugRelatedField = serializers.SlugRelatedField(
        many=True, read_only=True, slug_field="name"
    )
    is_used = serializers.BooleanField(read_only=True, help_text="Used versions never change.")

    class Meta:
        model = PromptVersion
        fields = (
            "id",
            "prompt",
            "prompt_slug",
            "number",
            "parent",
            "change_note",
            "system_prompt",
            "user_prompt",
            "negative_prompt",
            "image_model",
            "image_model_slug",
            "parameters",
            "output_type",
            "n_outputs",
            "aspect_ratio",
            "resolution_px",
            "temperature",
            "variables",
            "labels",
            "is_used",
            "first_used_at",
            "created_by",
            "created_at",
            "deleted_at",
        )

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_variables(self, version: PromptVersion) -> list[str]:
        """Return the names in the order of their use."""
        return list(list_version_variables(version))


class ImageModelSerializer(serializers.ModelSerializer):
    """A catalogue entry; where and by which key it is reached is shown to those who may change it."""

    class Meta:
        model = ImageModel
        fields = (
            "id",
            "slug",
            "name",
            "description",
            "provider",
            *PRIVATE_MODEL_FIELDS,
            "kind",
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
            "created_at",
            "deleted_at",
        )

    def to_representation(self, instance: ImageModel) -> dict[str, Any]:
        """Return the entry without what the reader may not see."""
        shown: dict[str, Any] = super().to_representation(instance)
        request = self.context.get("request")
        if request is None or not can(request.user, "prompts.change_imagemodel"):
            for name in PRIVATE_MODEL_FIELDS:
                shown.pop(name, None)
        return shown


class ProviderKeySerializer(serializers.ModelSerializer):
    """That there is a key; its value is never given out."""

    source = serializers.SerializerMethodField(  # type: ignore[assignment] # a name of Field's own, set back by its metaclass
        help_text="`environment` when a variable of the same name goes first."
    )

    class Meta:
        model = ProviderKey
        fields = ("id", "name", "source", "set_at", "set_by", "created_at")

    @extend_schema_field(serializers.ChoiceField(choices=["environment", "stored"]))
    def get_source(self, key: ProviderKey) -> str:
        """Return where calls take the key of this name from."""
        return describe_key_source(key.name, stored={key.name})


class ProviderKeyValueSerializer(StrictSerializer):
    """The value that takes the place of the stored one."""

    value = serializers.CharField(write_only=True, max_length=8_192, help_text="Never returned.")


class NewProviderKeySerializer(ProviderKeyValueSerializer):
    """A key to be stored."""

    name = serializers.CharField(max_length=40)


class SegmentSerializer(serializers.Serializer):
    """A run of text within a line."""

    text = serializers.CharField()
    is_changed = serializers.BooleanField()


class LineSerializer(serializers.Serializer):
    """One line of one side."""

    number = serializers.IntegerField(help_text="From 1.")
    segments = SegmentSerializer(many=True)


class RowSerializer(serializers.Serializer):
    """Two lines side by side; one of them is null where a line was added or removed."""

    change = serializers.ChoiceField(source="kind", choices=["equal", "changed", "removed", "added"])
    before = LineSerializer(allow_null=True)
    after = LineSerializer(allow_null=True)


class FieldChangeSerializer(serializers.Serializer):
    """One field that differs."""

    name = serializers.CharField()
    before = serializers.CharField()
    after = serializers.CharField()
    rows = RowSerializer(many=True)


class DiffSerializer(serializers.Serializer):
    """The fields in which two versions differ."""

    before = serializers.UUIDField()
    after = serializers.UUIDField()
    changes = FieldChangeSerializer(many=True)


class PromptFieldsSerializer(StrictSerializer):
    """What a prompt is made from or changed to."""

    name = serializers.CharField(max_length=255)
    slug = serializers.SlugField(max_length=80, required=False, help_text="Made from the name if left out.")
    description = serializers.CharField(required=False, allow_blank=True)
    tags = serializers.ListField(child=serializers.CharField(), required=False)


class VersionFieldsSerializer(StrictSerializer):
    """What a version that no generation has used is changed to."""

    user_prompt = serializers.CharField(trim_whitespace=False, required=False)
    image_model = StrictPrimaryKeyField(queryset=ImageModel.objects.alive(), required=False)
    system_prompt = serializers.CharField(trim_whitespace=False, allow_blank=True, required=False)
    negative_prompt = serializers.CharField(trim_whitespace=False, allow_blank=True, required=False)
    parameters = serializers.DictField(required=False)
    output_type = serializers.ChoiceField(choices=OutputType.choices, required=False)
    n_outputs = StrictIntegerField(required=False)
    aspect_ratio = serializers.ChoiceField(choices=AspectRatio.choices, required=False)
    resolution_px = serializers.ChoiceField(choices=Resolution.choices, required=False)
    temperature = StrictDecimalField(max_digits=3, decimal_places=2, allow_null=True, required=False)
    change_note = serializers.CharField(max_length=500, allow_blank=True, required=False)


class NewVersionSerializer(VersionFieldsSerializer):
    """A new version; what is left out is taken over from the parent, where there is one."""

    prompt = StrictPrimaryKeyField(queryset=Prompt.objects.all())
    parent = StrictPrimaryKeyField(  # type: ignore[assignment] # a name of Field's own, set back by its metaclass
        queryset=PromptVersion.objects.all(), required=False, allow_null=True
    )


class ImageModelFieldsSerializer(StrictSerializer):
    """What a catalogue entry is made from or changed to."""

    name = serializers.CharField(max_length=120)
    provider = serializers.ChoiceField(choices=Provider.choices)
    slug = serializers.SlugField(max_length=80, required=False, help_text="Made from the name if left out.")
    description = serializers.CharField(allow_blank=True, required=False)
    endpoint = serializers.CharField(max_length=200, allow_blank=True, required=False)
    base_url = serializers.CharField(max_length=300, allow_blank=True, required=False)
    credential_name = serializers.CharField(max_length=40, allow_blank=True, required=False)
    provider_options = serializers.DictField(required=False)
    kind = serializers.ChoiceField(choices=Kind.choices, required=False)
    parameters_schema = serializers.DictField(required=False)
    default_parameters = serializers.DictField(required=False)
    max_outputs = StrictIntegerField(required=False)
    max_inputs = StrictIntegerField(required=False)
    price_usd = StrictDecimalField(max_digits=10, decimal_places=6, allow_null=True, required=False)
    is_free = serializers.BooleanField(required=False)
    max_in_flight = StrictIntegerField(required=False)
    rate_per_minute = StrictIntegerField(allow_null=True, required=False)
    timeout_seconds = StrictIntegerField(required=False)
    max_attempts = StrictIntegerField(required=False)
    repeats_unknown = serializers.BooleanField(required=False)
    is_active = serializers.BooleanField(required=False)


class LabelTargetSerializer(StrictSerializer):
    """Where a label is moved to."""

    version = StrictPrimaryKeyField(queryset=PromptVersion.objects.all())


class NewLabelSerializer(LabelTargetSerializer):
    """A label of a prompt and where it points."""

    prompt = StrictPrimaryKeyField(queryset=Prompt.objects.all())
    name = serializers.CharField(max_length=60)
