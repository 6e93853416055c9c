"""The cases of a dataset as rows: checked, each fault named with its line, given keys."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from generations.choices import ImageRole
from generations.services.images import MAX_FILES
from mayagen.common.errors import DomainError

CSV, TSV, JSONL = "csv", "tsv", "jsonl"
FORMATS: Final = (CSV, TSV, JSONL)
MAX_FILE_BYTES: Final = 20 * 1024 * 1024
MAX_ROWS: Final = 50_000
MAX_COLUMNS: Final = 100
MAX_COLUMN_LENGTH: Final = 200
MAX_CELL_LENGTH: Final = 20_000
MAX_KEY_LENGTH: Final = 120
MAX_BRIEF_LENGTH: Final = 2_000
MAX_TAGS: Final = 20
MAX_TAG_LENGTH: Final = 80
MAX_ERRORS: Final = 100
MAX_IMAGE_NAME_LENGTH: Final = 500

VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
TAG_SEPARATOR: Final = re.compile(r"[;,]")
_BAD_CHARACTER: Final = re.compile("[\x00\ud800-\udfff]")
OWN_COLUMNS: Final = ("key", "brief", "tags")


class DatasetImportError(DomainError):
    """Rows can't be taken; nothing was written. `extra["errors"]` lists line, code and sentence."""

    code = "dataset_import_invalid"
    sentence = "The file can't be imported."


@dataclass(frozen=True, slots=True)
class RowError:
    """What is wrong with one line, counted from 1 with the header."""

    line: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RowImage:
    """An input image that a row names: a file beside the table, and what it is for."""

    name: str
    role: str = ImageRole.REFERENCE


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One case as it will be written."""

    key: str
    brief: str
    variables: Mapping[str, Any]
    tags: Sequence[str]
    images: Sequence[RowImage] = ()


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which column becomes what; columns that it does not name are left out.

    Args:
        variables: Names of columns by names of variables.
        tags: Columns whose values are tags.
        references: Columns that name input images, several with semicolons between.
        masks: Columns that name a mask.
    """

    key: str = ""
    brief: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    references: Sequence[str] = ()
    masks: Sequence[str] = ()

    def __bool__(self) -> bool:
        return any((self.key, self.brief, self.variables, self.tags, self.references, self.masks))

    @property
    def has_images(self) -> bool:
        """Whether the rows say which images the items have."""
        return bool(self.references or self.masks)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` makes the same mapping from; empty for an empty one."""
        names = ("key", "brief", "variables", "tags", "references", "masks")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ColumnMapping:
        """Return the mapping that was stored."""
        return cls(
            key=stored.get("key", ""),
            brief=stored.get("brief", ""),
            variables=stored.get("variables", {}),
            tags=stored.get("tags", ()),
            references=stored.get("references", ()),
            masks=stored.get("masks", ()),
        )


def collect_rows(read: Iterable[tuple[int, ItemRow | list[RowError]]]) -> list[ItemRow]:
    """Return the rows with keys made where they had none.

    Raises:
        DatasetImportError: Rows are wrong, a key stands twice, or there are none or too many.
    """
    rows: list[ItemRow] = []
    errors: list[RowError] = []
    lines: dict[str, int] = {}
    for line, result in read:
        if isinstance(result, list):
            errors += result
        else:
            if result.key and result.key in lines:
                message = f"The key “{result.key}” stands on line {lines[result.key]} too."
                errors.append(RowError(line, "key_duplicate", message))
            lines.setdefault(result.key, line)
            rows.append(result)
        if len(rows) > MAX_ROWS:
            errors.append(RowError(line, "too_many_rows", f"A dataset has at most {MAX_ROWS:,} items."))
        if len(errors) >= MAX_ERRORS or len(rows) > MAX_ROWS:
            break
    if errors:
        raise refuse(errors[:MAX_ERRORS])
    if not rows:
        raise refuse([RowError(1, "empty", "The file has no rows.")])
    return _with_keys(rows)


def refuse(errors: Sequence[RowError]) -> DatasetImportError:
    """Return the refusal of a file for these errors."""
    first = errors[0]
    more = f" {len(errors)} errors in all." if len(errors) > 1 else ""
    return DatasetImportError(
        f"Line {first.line}: {first.message}{more} Nothing was imported.",
        fields={"file": [f"Line {error.line}: {error.message}" for error in errors]},
        extra={
            "errors": [{"line": error.line, "code": error.code, "message": error.message} for error in errors]
        },
    )


def make_row(found: Mapping[str, Any], line: int) -> ItemRow | list[RowError]:
    """Return the row that a JSON object describes, or what is wrong with it."""
    rest = {name: value for name, value in found.items() if name not in {*OWN_COLUMNS, "variables"}}
    variables = found.get("variables", {})
    tags = found.get("tags") or []
    if isinstance(tags, str):
        tags = TAG_SEPARATOR.split(tags)
    if not isinstance(variables, Mapping):
        return [RowError(line, "variables", "“variables” must be an object.")]
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return [RowError(line, "tags", "“tags” must be a list of texts.")]
    key, brief = found.get("key", ""), found.get("brief", "")
    if type(key) is int:
        key = str(key)
    if not isinstance(key, str) or not isinstance(brief, str):
        return [RowError(line, "text", "“key” and “brief” must be texts.")]
    row = ItemRow(key.strip(), brief.strip(), {**rest, **variables}, clean_tags(tags))
    return check_row(row, line) or row


def clean_tags(tags: Iterable[str]) -> list[str]:
    """Return the tags without blanks around them, each once."""
    return list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))


def make_storable(text: str) -> str:
    """Return a text of a file as every database, and every answer in JSON, can hold it."""
    return _BAD_CHARACTER.sub("�", text)


def check_row(row: ItemRow, line: int) -> list[RowError]:
    """Return what is wrong with a row; nothing when it can be written."""
    problems: list[tuple[str, str]] = []
    if len(row.key) > MAX_KEY_LENGTH:
        problems.append(("key_too_long", f"The key is longer than {MAX_KEY_LENGTH} characters."))
    if len(row.brief) > MAX_BRIEF_LENGTH:
        problems.append(("brief_too_long", f"The brief is longer than {MAX_BRIEF_LENGTH:,} characters."))
    if len(row.tags) > MAX_TAGS or any(len(tag) > MAX_TAG_LENGTH for tag in row.tags):
        message = f"An item has at most {MAX_TAGS} tags of {MAX_TAG_LENGTH} characters."
        problems.append(("tags", message))
    if fault := _find_image_fault(row.images):
        problems.append(("images", fault))
    if len(row.variables) > MAX_COLUMNS:
        problems.append(("variables", f"An item has at most {MAX_COLUMNS} variables."))
    for name, value in list(row.variables.items())[:MAX_COLUMNS]:
        sentence = _value_fault(name, value)
        if sentence:
            problems.append(("variable_value", sentence))
    if any(_BAD_CHARACTER.search(text) for text in _list_texts(row)):
        problems.append(("character", "A text holds a NUL character or half of a surrogate pair."))
    return [RowError(line, code, message) for code, message in problems]


def _list_texts(row: ItemRow) -> list[str]:
    return [row.key, row.brief, *row.tags, *(image.name for image in row.images)]


def _find_image_fault(images: Sequence[RowImage]) -> str:
    if len(images) > MAX_FILES:
        return f"An item has at most {MAX_FILES} input images."
    if sum(image.role == ImageRole.MASK for image in images) > 1:
        return "An item has one mask at most."
    if any(len(image.name) > MAX_IMAGE_NAME_LENGTH for image in images):
        return f"The name of an image has at most {MAX_IMAGE_NAME_LENGTH} characters."
    return ""


def _value_fault(name: str, value: object) -> str:
    if not VARIABLE_NAME.match(name):
        return f"“{make_storable(name[:80])}” can't be the name of a variable."
    if isinstance(value, str):
        if len(value) > MAX_CELL_LENGTH:
            return f"The value of “{name}” is longer than {MAX_CELL_LENGTH:,} characters."
        if _BAD_CHARACTER.search(value):
            return f"The value of “{name}” holds a NUL character or half of a surrogate pair."
        return ""
    if isinstance(value, bool):
        return ""
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return "" if abs(value) < 10**30 else f"The number of “{name}” is too large."
    return f"The value of “{name}” must be text, a number, true or false."


def _with_keys(rows: Sequence[ItemRow]) -> list[ItemRow]:
    make_key = KeyMaker({row.key for row in rows})
    return [make_key.complete(row) for row in rows]


class KeyMaker:
    """Gives a key to each row without one: `item-0001`, by its place; complete all rows in their order.

    Args:
        taken: All keys that rows bring with them.
    """

    def __init__(self, taken: Container[str]) -> None:
        self._taken, self._made = taken, set[str]()
        self._n_rows = 0

    def complete(self, row: ItemRow) -> ItemRow:
        """Return the next row with a key."""
        self._n_rows += 1
        if row.key:
            return row
        key = f"item-{self._n_rows:04}"
        while key in self._taken or key in self._made:
            key = f"{key}-x"
        self._made.add(key)
        return replace(row, key=key)
