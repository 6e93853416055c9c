"""Read the cases of a dataset from CSV, TSV or JSON Lines; every error is named with its line."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mayagen.common.errors import DomainError

CSV, TSV, JSONL = "csv", "tsv", "jsonl"
FORMATS: Final = (CSV, TSV, JSONL)
MAX_FILE_BYTES: Final = 20 * 1024 * 1024
MAX_ROWS: Final = 50_000
MAX_COLUMNS: Final = 100
MAX_CELL_LENGTH: Final = 20_000
MAX_KEY_LENGTH: Final = 120
MAX_BRIEF_LENGTH: Final = 2_000
MAX_TAGS: Final = 20
MAX_TAG_LENGTH: Final = 80
MAX_ERRORS: Final = 100

_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_TAG_SEPARATOR: Final = re.compile(r"[;,]")
_BAD_CHARACTER: Final = re.compile("[\x00\ud800-\udfff]")
_OWN_COLUMNS: Final = ("key", "brief", "tags")


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
class ItemRow:
    """One case as it will be written."""

    key: str
    brief: str
    variables: Mapping[str, Any]
    tags: Sequence[str]


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which column becomes what; columns that it does not name are left out.

    Args:
        variables: Names of columns by names of variables.
        tags: Columns whose values are tags.
    """

    key: str = ""
    brief: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.key or self.brief or self.variables or self.tags)


def read_rows(
    content: bytes, *, file_format: str = "", file_name: str = "", mapping: ColumnMapping | None = None
) -> list[ItemRow]:
    """Return the cases of a file.

    Args:
        file_format: `csv`, `tsv` or `jsonl`; known from the name or the first line when empty.
        mapping: Without one, the columns `key`, `brief` and `tags` are these, and every other one is a
            variable.

    Raises:
        DatasetImportError: With all that is wrong, the first hundred errors by line.
    """
    text = _decode(content)
    file_format = file_format or guess_format(file_name, text)
    if file_format not in FORMATS:
        raise _refuse([RowError(1, "format_unknown", "The format is csv, tsv or jsonl.")])
    reader = _JsonReader(text, mapping) if file_format == JSONL else _TableReader(text, file_format, mapping)
    return collect_rows(reader.read())


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
        raise _refuse(errors[:MAX_ERRORS])
    if not rows:
        raise _refuse([RowError(1, "empty", "The file has no rows.")])
    return _with_keys(rows)


def guess_format(file_name: str, text: str) -> str:
    """Return the format that a file's ending or first line speaks for."""
    ending = file_name.rpartition(".")[2].lower()
    if ending in {TSV, "tab"}:
        return TSV
    if ending in {JSONL, "ndjson"}:
        return JSONL
    first = text.lstrip().partition("\n")[0]
    if first.startswith("{"):
        return JSONL
    return TSV if "\t" in first else CSV


def _refuse(errors: Sequence[RowError]) -> DatasetImportError:
    first = errors[0]
    more = f" {len(errors)} errors in all." if len(errors) > 1 else ""
    return DatasetImportError(
        f"Line {first.line}: {first.message}{more} Nothing was imported.",
        fields={"file": [f"Line {error.line}: {error.message}" for error in errors]},
        extra={
            "errors": [{"line": error.line, "code": error.code, "message": error.message} for error in errors]
        },
    )


def _decode(content: bytes) -> str:
    if len(content) > MAX_FILE_BYTES:
        size = MAX_FILE_BYTES // 1024 // 1024
        raise _refuse([RowError(1, "file_too_large", f"The file is larger than {size} MB.")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = "This is not UTF-8. Save the file with the encoding UTF-8."
        raise _refuse([RowError(line, "encoding", message)]) from None
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise _refuse([RowError(line, "nul", "The file holds a NUL character.")])
    return text


class _TableReader:
    """Rows of CSV or TSV with a header."""

    def __init__(self, text: str, file_format: str, mapping: ColumnMapping | None) -> None:
        self._cells = _open_table(text, "\t" if file_format == TSV else ",")
        if file_format == TSV and not _has_plain_quotes(text):
            # Tabs need no quotes, so in many such files a quote is a letter like any other.
            self._cells = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
        self._mapping = mapping

    def read(self) -> Iterator[tuple[int, ItemRow | list[RowError]]]:
        """Yield each line's number with its row or its errors."""
        try:
            header = [name.strip() for name in next(self._cells, [])]
            mapping, errors = _complete_mapping(self._mapping, header)
            if errors:
                yield 1, errors
                return
            line = self._cells.line_num + 1
            for cells in self._cells:
                if any(cell.strip() for cell in cells):
                    yield line, self._make(cells, header, mapping, line)
                line = self._cells.line_num + 1
        except csv.Error as error:
            message = f"The line can't be read: {error}. A quote inside a quoted cell is written twice."
            yield self._cells.line_num, [RowError(self._cells.line_num, "quotes", message)]

    @staticmethod
    def _make(
        cells: list[str], header: list[str], mapping: ColumnMapping, line: int
    ) -> ItemRow | list[RowError]:
        if len(cells) > len(header):
            message = f"The line has {len(cells)} cells, the header {len(header)}."
            return [RowError(line, "too_many_cells", message)]
        values = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
        tags: list[str] = []
        for column in mapping.tags:
            tags += _TAG_SEPARATOR.split(values[column]) if column.lower() == "tags" else [values[column]]
        row = ItemRow(
            key=values.get(mapping.key, "").strip(),
            brief=values.get(mapping.brief, "").strip(),
            variables={name: values[column].strip() for name, column in mapping.variables.items()},
            tags=_clean_tags(tags),
        )
        return check_row(row, line) or row


def _open_table(text: str, delimiter: str) -> Any:
    # Strict: a quote that does not fit is an error with its line, not text that silently changes.
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _has_plain_quotes(text: str) -> bool:
    """Return whether every quote that starts a cell of the table also ends it."""
    try:
        for _ in _open_table(text, "\t"):
            pass
    except csv.Error:
        return False
    return True


def _complete_mapping(
    mapping: ColumnMapping | None, header: list[str]
) -> tuple[ColumnMapping, list[RowError]]:
    """Return the mapping to read by, and what is wrong with it or the header."""
    problems: list[tuple[str, str]] = []
    if not any(header):
        problems.append(("header_missing", "The first line must name the columns."))
    elif len(header) > MAX_COLUMNS:
        problems.append(("too_many_columns", f"There are more than {MAX_COLUMNS} columns."))
    elif len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        problems.append(("column_duplicate", f"The column “{twice}” stands twice in the header."))
    if not mapping:
        mapping = _map_by_name(header)
    named = (mapping.key, mapping.brief, *mapping.variables.values(), *mapping.tags)
    unknown = [column for column in named if column and column not in header]
    problems += [("column_unknown", f"There is no column “{column}”.") for column in unknown]
    for name in mapping.variables:
        if not _VARIABLE_NAME.match(name):
            message = (
                f"“{name[:80]}” can't be the name of a variable: it may hold letters from a to z, digits"
                " and underscores. Rename the column, or map it to a variable."
            )
            problems.append(("variable_name", message))
    return mapping, [RowError(1, code, message) for code, message in problems]


def _map_by_name(header: Sequence[str]) -> ColumnMapping:
    own = {name.lower(): name for name in header if name.lower() in _OWN_COLUMNS}
    return ColumnMapping(
        key=own.get("key", ""),
        brief=own.get("brief", ""),
        variables={name: name for name in header if name and name not in own.values()},
        tags=[own["tags"]] if "tags" in own else [],
    )


class _JsonReader:
    """Rows of JSON Lines: objects with `key`, `brief`, `tags`, `variables`; other names are variables too."""

    def __init__(self, text: str, mapping: ColumnMapping | None) -> None:
        self._lines = text.split("\n")
        self._mapping = mapping

    def read(self) -> Iterator[tuple[int, ItemRow | list[RowError]]]:
        """Yield each line's number with its row or its errors."""
        for line, text in enumerate(self._lines, start=1):
            if text.strip():
                yield line, self._make(text, line)

    def _make(self, text: str, line: int) -> ItemRow | list[RowError]:
        try:
            found = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_to_unique)
        except RecursionError:
            return [RowError(line, "json", "The object is nested too deeply.")]
        except ValueError as error:
            return [RowError(line, "json", f"The line is no JSON: {error}.")]
        if not isinstance(found, dict):
            return [RowError(line, "json", "The line is no JSON object.")]
        return make_row(_select(found, self._mapping) if self._mapping else found, line)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _to_unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return dict(pairs)


def _select(found: Mapping[str, Any], mapping: ColumnMapping) -> dict[str, Any]:
    return {
        "key": found.get(mapping.key, "") if mapping.key else "",
        "brief": found.get(mapping.brief, "") if mapping.brief else "",
        "variables": {name: found.get(column, "") for name, column in mapping.variables.items()},
        "tags": [found[column] for column in mapping.tags if found.get(column)],
    }


def make_row(found: Mapping[str, Any], line: int) -> ItemRow | list[RowError]:
    """Return the row that a JSON object describes, or what is wrong with it."""
    rest = {name: value for name, value in found.items() if name not in {*_OWN_COLUMNS, "variables"}}
    variables = found.get("variables", {})
    tags = found.get("tags") or []
    if isinstance(tags, str):
        tags = _TAG_SEPARATOR.split(tags)
    if not isinstance(variables, Mapping):
        return [RowError(line, "variables", "“variables” must be an object.")]
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return [RowError(line, "tags", "“tags” must be a list of texts.")]
    key, brief = found.get("key", ""), found.get("brief", "")
    if type(key) is int:
        key = str(key)
    if not isinstance(key, str) or not isinstance(brief, str):
        return [RowError(line, "text", "“key” and “brief” must be texts.")]
    row = ItemRow(key.strip(), brief.strip(), {**rest, **variables}, _clean_tags(tags))
    return check_row(row, line) or row


def _clean_tags(tags: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))


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
    if len(row.variables) > MAX_COLUMNS:
        problems.append(("variables", f"An item has at most {MAX_COLUMNS} variables."))
    for name, value in list(row.variables.items())[:MAX_COLUMNS]:
        sentence = _value_fault(name, value)
        if sentence:
            problems.append(("variable_value", sentence))
    if any(_BAD_CHARACTER.search(text) for text in (row.key, row.brief, *row.tags)):
        problems.append(("character", "A text holds a NUL character or half of a surrogate pair."))
    return [RowError(line, code, message) for code, message in problems]


def _value_fault(name: str, value: object) -> str:
    if not _VARIABLE_NAME.match(name):
        return f"“{name[:80]!s}” can't be the name of a variable.".replace("\x00", "")
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
    """Give a key to each row without one: `item-0001`, by its place."""
    taken = {row.key for row in rows}
    keyed: list[ItemRow] = []
    for number, row in enumerate(rows, start=1):
        key = row.key or f"item-{number:04}"
        while not row.key and key in taken:
            key = f"{key}-x"
        taken.add(key)
        keyed.append(ItemRow(key, row.brief, row.variables, row.tags))
    return keyed
