"""Forms of the admin's pages of datasets and runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile, File
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from unfold.widgets import UnfoldAdminTextInputWidget

from generations.choices import ImageRole, Priority
from generations.models import Dataset, DatasetImport, DatasetVersion
from generations.services.dataset_rows import (
    MAX_CELL_LENGTH,
    MAX_KEY_LENGTH,
    ColumnMapping,
    ItemRow,
    clean_tags,
)
from generations.services.images import UploadedInput, read_upload
from generations.services.planning import MAX_SEED
from generations.services.runs import MAX_BRIEF_LENGTH, MAX_NAME_LENGTH, MAX_REPEATS
from mayagen.common.errors import DomainError
from prompts.forms import JSONObjectField
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


class DatasetUploadForm(_PlainForm):
    """A file of cases, or the same as text."""

    name = forms.CharField(max_length=255, label="Name")
    description = forms.CharField(required=False, widget=forms.Textarea({"rows": 2}))
    file = forms.FileField(
        required=False, allow_empty_file=True, label="File (CSV, TSV, JSON Lines, or ZIP with images)"
    )
    text = forms.CharField(
        required=False,
        strip=False,
        max_length=1_000_000,
        widget=forms.Textarea({"rows": 5, "placeholder": "key,brief,subject\ncat,A calm cat.,a cat"}),
        label="Or the rows as text",
    )
    note = forms.CharField(required=False, max_length=500, label="What this version is about")

    def __init__(self, *args: Any, dataset: Dataset | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if dataset is not None:
            del self.fields["name"], self.fields["description"]

    def clean(self) -> Any:
        """Take either the file or the text; for a new dataset perhaps neither."""
        cleaned = super().clean() or {}
        given = [bool(cleaned.get("file")), bool(cleaned.get("text", "").strip())]
        if "file" in cleaned and (all(given) or (not any(given) and "name" not in self.fields)):
            self.add_error("file", "Choose a file, or write the rows as text.")
        return cleaned

    def read_upload(self) -> File[bytes] | None:
        """Return what was handed in, without a name if it is text; None for nothing."""
        file: UploadedFile | None = self.cleaned_data["file"]
        if file is not None:
            return file
        text = self.cleaned_data["text"]
        return ContentFile(text.encode("utf-8", "replace")) if text.strip() else None


class ColumnsForm(_PlainForm):
    """What each column of an import's table becomes."""

    ROLES: Final = (("", "Nothing else"), ("key", "Key"), ("brief", "Brief"), ("tags", "Tags"))
    IMAGE_ROLES: Final = (("references", "Input images"), ("masks", "Mask"))

    def __init__(self, *args: Any, dataset_import: DatasetImport, **kwargs: Any) -> None:
        self._columns = [str(column) for column in dataset_import.columns if column]
        mapping = ColumnMapping.from_json(dataset_import.used_mapping)
        is_archive = dataset_import.file_name.lower().endswith(".zip") or mapping.has_images
        roles = (*self.ROLES, *(self.IMAGE_ROLES if is_archive else ()))
        super().__init__(*args, **kwargs)
        names = {column: name for name, column in mapping.variables.items()}
        for number, column in enumerate(self._columns):
            self.fields[f"role-{number}"] = forms.ChoiceField(
                required=False, choices=roles, initial=_find_role(mapping, column), label=f"Role of {column}"
            )
            self.fields[f"variable-{number}"] = forms.CharField(
                required=False,
                max_length=64,
                initial=names.get(column, ""),
                label=f"Variable of {column}",
            )
        for field in self.fields.values():
            field.widget.attrs.setdefault("class", "mg-input")
            field.widget.attrs["aria-label"] = field.label

    def list_rows(self) -> list[tuple[str, forms.BoundField, forms.BoundField]]:
        """Return each column with its two fields."""
        return [
            (column, self[f"role-{number}"], self[f"variable-{number}"])
            for number, column in enumerate(self._columns)
        ]

    def clean(self) -> Any:
        """Refuse two columns for what an item has one of, and an import of nothing."""
        cleaned = super().clean() or {}
        for role, label in (("key", "key"), ("brief", "brief")):
            if len(self._list_columns(role)) > 1:
                self.add_error(None, f"Choose one column for the {label}.")
        names = [name for name in (cleaned.get(f"variable-{n}") for n in range(len(self._columns))) if name]
        if len(set(names)) < len(names):
            self.add_error(None, "Two columns can't become the same variable.")
        if not any(value for value in cleaned.values()):
            self.add_error(None, "Choose what at least one column becomes.")
        return cleaned

    def read_mapping(self) -> ColumnMapping:
        """Return which column becomes what."""
        named = {
            self.cleaned_data[f"variable-{number}"]: column for number, column in enumerate(self._columns)
        }
        return ColumnMapping(
            key=next(iter(self._list_columns("key")), ""),
            brief=next(iter(self._list_columns("brief")), ""),
            variables={name: column for name, column in named.items() if name},
            tags=self._list_columns("tags"),
            references=self._list_columns("references"),
            masks=self._list_columns("masks"),
        )

    def _list_columns(self, role: str) -> list[str]:
        chosen = enumerate(self._columns)
        return [column for number, column in chosen if self.cleaned_data.get(f"role-{number}") == role]


def _find_role(mapping: ColumnMapping, column: str) -> str:
    for role in ("key", "brief"):
        if getattr(mapping, role) == column:
            return role
    return next((role for role in ("tags", "references", "masks") if column in getattr(mapping, role)), "")


class ItemForm(_PlainForm):
    """One case: a field for each variable that the version's items have, and lines for further ones."""

    version = forms.IntegerField(widget=forms.HiddenInput)
    key = forms.CharField(max_length=MAX_KEY_LENGTH, label="Key")
    brief = forms.CharField(
        required=False,
        max_length=MAX_BRIEF_LENGTH,
        widget=forms.Textarea({"rows": 2}),
        label="Brief",
        help_text="One plain sentence of what the picture should show.",
    )
    tags = forms.CharField(required=False, max_length=2_000, label="Tags, with commas")
    more = forms.CharField(
        required=False,
        max_length=20_000,
        widget=forms.Textarea({"rows": 2, "placeholder": "season=winter"}),
        label="Further variables, one name=value a line",
    )

    def __init__(self, *args: Any, variables: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._values = variables
        for name, value in variables.items():
            self.fields[f"variable-{name}"] = forms.CharField(
                required=False,
                strip=False,
                max_length=MAX_CELL_LENGTH,
                initial="" if value is None else str(value),
                widget=forms.Textarea({"rows": 2, "class": "mg-input"}),
                label=name,
            )

    def list_variables(self) -> list[forms.BoundField]:
        """Return the fields of variables."""
        return [self[f"variable-{name}"] for name in self._values]

    def clean_more(self) -> dict[str, str]:
        """Return further variables by their names."""
        found = {}
        for line in self.cleaned_data["more"].splitlines():
            name, separator, value = line.partition("=")
            if line.strip() and not (name.strip() and separator):
                raise ValidationError("Write each variable as name=value, such as season=winter.")
            if line.strip():
                found[name.strip()] = value.strip()
        return found

    def read_row(self) -> ItemRow:
        """Return the item; a value that was not touched stays what it was, be it a number."""
        variables: dict[str, Any] = {}
        for name, value in self._values.items():
            written = self.cleaned_data[f"variable-{name}"].replace("\r\n", "\n")
            if value is not None or written:
                variables[name] = value if value is not None and written == str(value) else written
        return ItemRow(
            key=self.cleaned_data["key"],
            brief=self.cleaned_data["brief"].strip(),
            variables={**variables, **self.cleaned_data["more"]},
            tags=clean_tags(self.cleaned_data["tags"].split(",")),
        )


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
    ceiling_usd = forms.DecimalField(
        required=False,
        max_digits=12,
        decimal_places=2,
        label="Ceiling (USD)",
        help_text="The most that the run may cost; what would go beyond is not sent. No ceiling if empty.",
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


class CeilingForm(_PlainForm):
    """A higher ceiling for a run."""

    ceiling_usd = forms.DecimalField(max_digits=12, decimal_places=2, label="New ceiling (USD)")


class ModelTestForm(_PlainForm):
    """What a model is asked to draw in a test."""

    text = forms.CharField(max_length=4_000, label="Prompt", widget=forms.Textarea({"rows": 3}))
    parameters = JSONObjectField(
        required=False,
        label="Parameters",
        widget=forms.Textarea({"rows": 4}),
        help_text="The model's defaults stand where nothing is given.",
    )
