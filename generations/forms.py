"""Forms of the admin's pages of datasets and runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from unfold.widgets import UnfoldAdminTextInputWidget

from generations.choices import ImageRole, Priority
from generations.models import Dataset, DatasetVersion
from generations.services.dataset_rows import MAX_FILE_BYTES, ColumnMapping
from generations.services.images import UploadedInput, read_upload
from generations.services.planning import MAX_SEED
from generations.services.runs import MAX_BRIEF_LENGTH, MAX_NAME_LENGTH, MAX_REPEATS
from mayagen.common.errors import DomainError
from prompts.models import PromptVersion


class _PlainForm(forms.Form):
    """A form whose fields look like the page around them."""

    required_css_class = "mg-required"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.setdefault("class", "mg-input")

    def add_refusal(self, refusal: DomainError) -> None:
        """Show why a verb refused: beside the fields where it says so, else at the top."""
        is_placed = False
        for name, sentences in refusal.fields.items():
            target = name if name in self.fields else name.partition(".")[0]
            if target in self.fields:
                is_placed = True
                self.add_error(target, [ValidationError(sentence) for sentence in sentences[:100]])
        if not is_placed:
            self.add_error(None, refusal.message)


class DatasetForm(forms.ModelForm):
    """What a dataset is called."""

    slug = forms.SlugField(
        max_length=80,
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="The one it has stays when this is empty.",
    )

    class Meta:
        model = Dataset
        fields = ("name", "slug", "description")


class DatasetImportForm(_PlainForm):
    """A file of cases, or the same as text, and which of its columns become what."""

    name = forms.CharField(max_length=255, label="Name")
    description = forms.CharField(required=False, widget=forms.Textarea({"rows": 2}))
    file = forms.FileField(required=False, allow_empty_file=True, label="File (CSV, TSV or JSON Lines)")
    text = forms.CharField(
        required=False,
        strip=False,
        max_length=1_000_000,
        widget=forms.Textarea({"rows": 5, "placeholder": "key,brief,subject\ncat,A calm cat.,a cat"}),
        label="Or the rows as text",
    )
    brief = forms.CharField(required=False, max_length=200, label="Column of the brief")
    key = forms.CharField(required=False, max_length=200, label="Column of the key")
    variables = forms.CharField(
        required=False,
        max_length=10_000,
        widget=forms.Textarea({"rows": 2, "placeholder": "prompt=Prompt"}),
        label="Variables, one name=column a line",
    )
    tags = forms.CharField(required=False, max_length=2_000, label="Columns of tags, with commas")
    note = forms.CharField(required=False, max_length=500, label="What this version is about")

    def __init__(self, *args: Any, dataset: Dataset | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if dataset is not None:
            del self.fields["name"], self.fields["description"]

    def clean_variables(self) -> dict[str, str]:
        """Return columns by names of variables."""
        found = {}
        for line in self.cleaned_data["variables"].splitlines():
            name, separator, column = line.partition("=")
            if line.strip() and not (name.strip() and separator and column.strip()):
                raise ValidationError("Write each variable as name=column, such as prompt=Prompt.")
            if line.strip():
                found[name.strip()] = column.strip()
        return found

    def clean(self) -> Any:
        """Take either the file or the text."""
        cleaned = super().clean() or {}
        if "file" in cleaned and bool(cleaned["file"]) == bool(cleaned.get("text", "").strip()):
            self.add_error("file", "Choose a file, or write the rows as text.")
        return cleaned

    def read_content(self) -> tuple[bytes, str]:
        """Return the bytes to import and the name of their file."""
        file: UploadedFile | None = self.cleaned_data["file"]
        if file is None:
            return self.cleaned_data["text"].encode("utf-8", "replace"), ""
        return file.read(MAX_FILE_BYTES + 1), file.name or ""

    def read_mapping(self) -> ColumnMapping | None:
        """Return which column is what, or None to go by the columns' names."""
        mapping = ColumnMapping(
            key=self.cleaned_data["key"],
            brief=self.cleaned_data["brief"],
            variables=self.cleaned_data["variables"],
            tags=[tag.strip() for tag in self.cleaned_data["tags"].split(",") if tag.strip()],
        )
        return mapping or None


class ManyFilesInput(forms.ClearableFileInput):
    """A picker of several files."""

    allow_multiple_selected = True


class ManyFilesField(forms.FileField):
    """Several files, perhaps none."""

    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile]:
        """Return the files."""
        files = data if isinstance(data, list | tuple) else [data]
        return [super(ManyFilesField, self).clean(file, initial) for file in files if file]


class ItemImagesForm(_PlainForm):
    """The input images of one case; none takes them away."""

    inputs = ManyFilesField(required=False, allow_empty_file=True, label="Input images")
    mask = forms.FileField(required=False, allow_empty_file=True, label="Mask")

    def read_files(self) -> list[UploadedInput]:
        """Return the files as input images, the mask last."""
        return read_inputs(self.cleaned_data)


def read_inputs(cleaned: Mapping[str, Any]) -> list[UploadedInput]:
    """Return the files of a form's `inputs` and `mask`."""
    files = [UploadedInput(read_upload(file)) for file in cleaned["inputs"]]
    mask = cleaned["mask"]
    return files if mask is None else [*files, UploadedInput(read_upload(mask), ImageRole.MASK)]


class DatasetVersionField(forms.ModelChoiceField):
    """A choice of dataset versions, each with the number of its items."""

    def label_from_instance(self, obj: Any) -> str:
        """Return the name with the number of items."""
        return f"{obj} – {obj.n_items:,} {'item' if obj.n_items == 1 else 'items'}"


class RunLaunchForm(_PlainForm):
    """What a run is made from; the variables of a run without a dataset are read beside it."""

    name = forms.CharField(max_length=MAX_NAME_LENGTH, label="Name")
    prompt_versions = forms.ModelMultipleChoiceField(
        queryset=PromptVersion.objects.none(),
        widget=forms.CheckboxSelectMultiple({"class": ""}),
        label="Prompt versions",
        error_messages={"required": "Choose at least one prompt version."},
    )
    dataset_version = DatasetVersionField(
        queryset=DatasetVersion.objects.none(),
        required=False,
        empty_label="No dataset: one case, with the variables below",
        label="Dataset",
    )
    brief = forms.CharField(
        required=False,
        max_length=MAX_BRIEF_LENGTH,
        label="Brief",
        help_text="What evaluators read above the image; the variables when empty.",
    )
    inputs = ManyFilesField(required=False, allow_empty_file=True, label="Input images")
    mask = forms.FileField(required=False, allow_empty_file=True, label="Mask")
    repeats = forms.IntegerField(min_value=1, max_value=MAX_REPEATS, initial=1, label="Repeats")
    base_seed = forms.IntegerField(min_value=0, max_value=MAX_SEED, initial=0, label="Base seed")
    priority = forms.TypedChoiceField(
        choices=Priority.choices, coerce=int, initial=Priority.NORMAL, label="Priority"
    )
    note = forms.CharField(required=False, max_length=5_000, widget=forms.Textarea({"rows": 2}), label="Note")

    def __init__(
        self,
        *args: Any,
        versions: QuerySet[PromptVersion],
        datasets: QuerySet[DatasetVersion],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        for name, rows in (("prompt_versions", versions), ("dataset_version", datasets)):
            field: Any = self.fields[name]
            field.queryset = rows
