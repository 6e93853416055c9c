"""What the API takes for datasets, runs, generations and their images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from rest_framework import serializers

from generations.choices import ImageRole, Priority, Source
from generations.models import DatasetItem, DatasetVersion
from generations.services.dataset_rows import FORMATS
from generations.services.unknown_outcomes import Decision
from mayagen.common.api import (
    StrictDecimalField,
    StrictIntegerField,
    StrictPrimaryKeyField,
    StrictSerializer,
)
from prompts.models import PromptVersion


class JSONObjectField(serializers.DictField):
    """A JSON object; in a multipart body, the text of one."""

    default_error_messages = {"not_json": "Give a JSON object."}

    def get_value(self, dictionary: Any) -> Any:
        """Return what stands under the field's own name, not names that begin with it."""
        return dictionary.get(self.field_name, serializers.empty)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the object."""
        if isinstance(data, str):
            try:
                data = json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_build_object)
            except (ValueError, RecursionError):
                self.fail("not_json")
        if not isinstance(data, Mapping):
            self.fail("not_json")
        return dict(data)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)


class ItemFieldsSerializer(StrictSerializer):
    """One case as it is sent; its values are checked by the verb, which names each faulty one."""

    key = serializers.CharField(required=False, allow_blank=True, help_text="Made when it is left out.")
    brief = serializers.CharField(required=False, allow_blank=True)
    variables = serializers.DictField(required=False)
    tags = serializers.ListField(child=serializers.CharField(), required=False)


class DatasetFieldsSerializer(StrictSerializer):
    """What a dataset is called."""

    name = serializers.CharField(max_length=255)
    slug = serializers.SlugField(max_length=80, required=False, help_text="Made from the name if left out.")
    description = serializers.CharField(required=False, allow_blank=True)


class ImportFieldsSerializer(StrictSerializer):
    """A file of cases, and which of its columns become what.

    Without any of `key`, `brief`, `variables` and `tags` the columns of these names are taken, and every
    other column is a variable.
    """

    file = serializers.FileField(allow_empty_file=True)
    format = serializers.ChoiceField(choices=FORMATS, required=False)
    key = serializers.CharField(required=False, help_text="Column of the key.")
    brief = serializers.CharField(required=False, help_text="Column of the brief.")
    variables = JSONObjectField(
        required=False, help_text="Columns by names of variables, such as {“prompt”: “Prompt”}."
    )
    tags = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Columns whose values are tags."
    )
    note = serializers.CharField(required=False, max_length=500)


class NewDatasetSerializer(DatasetFieldsSerializer):
    """A dataset, perhaps with the items of its first version."""

    items = ItemFieldsSerializer(many=True, required=False)
    note = serializers.CharField(required=False, max_length=500)


class DatasetUploadSerializer(DatasetFieldsSerializer, ImportFieldsSerializer):
    """A dataset made from a file."""


class NewItemsSerializer(StrictSerializer):
    """Items of the next version of a dataset."""

    items = ItemFieldsSerializer(many=True)
    keep_others = serializers.BooleanField(
        default=True, help_text="Keep the newest version's items with other keys; false replaces them all."
    )
    note = serializers.CharField(required=False, max_length=500)


class FilesSerializer(StrictSerializer):
    """Images as a multipart body."""

    files = serializers.ListField(child=serializers.FileField(allow_empty_file=True), allow_empty=False)


class InputFilesSerializer(FilesSerializer):
    """Input images as a multipart body."""

    role = serializers.ChoiceField(choices=ImageRole.choices, default=ImageRole.REFERENCE)


class ItemImagesSerializer(InputFilesSerializer):
    """Input images of one case."""

    key = serializers.CharField(help_text="Of the item.")


class NewRunSerializer(StrictSerializer):
    """What a run is made from; as a multipart body, with input images."""

    name = serializers.CharField(max_length=255)
    prompt_versions = serializers.ListField(
        child=StrictPrimaryKeyField(queryset=PromptVersion.objects.all()), allow_empty=False, max_length=100
    )
    dataset_version = StrictPrimaryKeyField(
        queryset=DatasetVersion.objects.select_related("dataset"), required=False, allow_null=True
    )
    variables = JSONObjectField(required=False)
    brief = serializers.CharField(required=False, allow_blank=True)
    repeats = StrictIntegerField(required=False)
    base_seed = StrictIntegerField(required=False)
    priority = serializers.ChoiceField(choices=Priority.choices, required=False)
    note = serializers.CharField(required=False, allow_blank=True)
    ceiling_usd = StrictDecimalField(
        max_digits=12,
        decimal_places=2,
        required=False,
        allow_null=True,
        help_text="What all of it may cost; what would go beyond is cancelled when its turn comes.",
    )
    inputs = serializers.ListField(child=serializers.FileField(allow_empty_file=True), required=False)
    mask = serializers.FileField(required=False, allow_empty_file=True)


class ModelTestSerializer(StrictSerializer):
    """What a model is asked to draw in a test."""

    text = serializers.CharField(required=False, max_length=4_000, help_text="A picture of ours if left out.")
    parameters = serializers.DictField(required=False, help_text="Completed by the model's defaults.")


class RetrySerializer(StrictSerializer):
    """Which failures of a run are retried."""

    error_code = serializers.CharField(required=False, help_text="Only those that failed with this code.")


class RetriedSerializer(serializers.Serializer):
    """How much was retried."""

    n_retried = serializers.IntegerField()


class CeilingSerializer(StrictSerializer):
    """A higher ceiling for a run."""

    ceiling_usd = StrictDecimalField(
        max_digits=12,
        decimal_places=2,
        allow_null=True,
        help_text="Higher than the present one; null removes it.",
    )


class RaisedSerializer(serializers.Serializer):
    """How much goes on that the ceiling had stopped."""

    n_queued = serializers.IntegerField()


class DecisionSerializer(StrictSerializer):
    """What to do about calls of unknown outcome."""

    decision = serializers.ChoiceField(choices=[(each.value, each.value) for each in Decision])


class DecidedSerializer(serializers.Serializer):
    """About how many calls was decided."""

    n_decided = serializers.IntegerField()


class CancelledSerializer(serializers.Serializer):
    """How much was cancelled."""

    n_cancelled = serializers.IntegerField()


class NewGenerationSerializer(StrictSerializer):
    """One generation: made here (`engine`), or recorded because it was made elsewhere (`external`)."""

    source = serializers.ChoiceField(choices=Source.choices, default=Source.ENGINE)  # type: ignore[assignment] # a name of Field's own, set back by its metaclass
    prompt_version = StrictPrimaryKeyField(queryset=PromptVersion.objects.select_related("prompt"))
    variables = JSONObjectField(required=False)
    brief = serializers.CharField(required=False, allow_blank=True)
    inputs = serializers.ListField(child=serializers.FileField(allow_empty_file=True), required=False)
    mask = serializers.FileField(required=False, allow_empty_file=True)
    base_seed = StrictIntegerField(required=False, help_text="`engine` only.")
    priority = serializers.ChoiceField(choices=Priority.choices, required=False, help_text="`engine` only.")
    outputs = serializers.ListField(
        child=serializers.FileField(allow_empty_file=True), required=False, help_text="`external` only."
    )
    rendered_prompt = serializers.CharField(
        required=False, trim_whitespace=False, help_text="`external` only: what was really sent."
    )
    parameters = JSONObjectField(required=False, help_text="`external` only: as they were really sent.")
    seed = StrictIntegerField(required=False, help_text="`external` only.")
    dataset_item = StrictPrimaryKeyField(
        queryset=DatasetItem.objects.all(), required=False, help_text="`external` only."
    )
    case_key = serializers.CharField(required=False, max_length=120, help_text="`external` only.")
    cost_usd = StrictDecimalField(
        max_digits=12, decimal_places=6, required=False, help_text="`external` only."
    )
    duration_ms = StrictIntegerField(required=False, help_text="`external` only.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse what belongs to the other source."""
        others = _EXTERNAL_ONLY if attrs["source"] == Source.ENGINE else _ENGINE_ONLY
        wrong = {name: [f"Not for the source “{attrs['source']}”."] for name in others if name in attrs}
        if wrong:
            raise serializers.ValidationError(wrong)
        return attrs


_ENGINE_ONLY = ("base_seed", "priority")
_EXTERNAL_ONLY = (
    "outputs",
    "rendered_prompt",
    "parameters",
    "seed",
    "dataset_item",
    "case_key",
    "cost_usd",
    "duration_ms",
)
