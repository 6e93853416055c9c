"""Read CSV, TSV and JSON Lines row by row, as often as asked; never is a whole file in memory."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, Final

from generations.choices import ImageRole
from generations.services.dataset_rows import (
    CSV,
    FORMATS,
    JSONL,
    MAX_COLUMN_LENGTH,
    MAX_COLUMNS,
    MAX_FILE_BYTES,
    OWN_COLUMNS,
    TAG_SEPARATOR,
    TSV,
    VARIABLE_NAME,
    ColumnMapping,
    ItemRow,
    RowError,
    RowImage,
    check_row,
    clean_tags,
    collect_rows,
    make_row,
    make_storable,
    refuse,
)

Result = ItemRow | list[RowError]
# What columns of images are mostly called; they count as such only where images come with the table.
REFERENCE_COLUMNS: Final = ("image", "images", "input", "input_image", "reference", "references")
MASK_COLUMNS: Final = ("mask",)
MAX_LINE_BYTES: Final = 8 * 1024 * 1024
_HEAD_BYTES: Final = 64 * 1024
_LONE_RETURN: Final = re.compile(r"(?<=\r)(?!\n)(?=.)", re.DOTALL)


def read_rows(
    content: bytes, *, file_format: str = "", file_name: str = "", mapping: ColumnMapping | None = None
) -> list[ItemRow]:
    """Return the cases of a small file at once.

    Args:
        content: The file.
        file_name: As its owner calls it.
        file_format: `csv`, `tsv` or `jsonl`; known from the name or the first line when empty.
        mapping: Without one, the columns `key`, `brief` and `tags` are these, and every other one is a
            variable.

    Raises:
        DatasetImportError: With all that is wrong, the first hundred errors by line.
    """
    file = RowFile(io.BytesIO(content), file_format=file_format, file_name=file_name, mapping=mapping)
    return collect_rows(file.read())


class RowFile:
    """The rows of one table.

    Args:
        file: Can be read again from its start.
        file_format, file_name, mapping: As for `read_rows`.
        has_images: Whether files come with the table, which columns of images may name.

    Attributes:
        columns: The columns' names, in their order; known once rows have been read.
        mapping: What the rows were read by; known likewise.

    Raises:
        DatasetImportError: It is too large, or of another format.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        file_format: str = "",
        file_name: str = "",
        mapping: ColumnMapping | None = None,
        has_images: bool = False,
    ) -> None:
        if file.seek(0, os.SEEK_END) > MAX_FILE_BYTES:
            size = MAX_FILE_BYTES // 1024 // 1024
            raise refuse([RowError(1, "file_too_large", f"The file is larger than {size} MB.")])
        self.format = file_format or _guess_format(file_name, file)
        if self.format not in FORMATS:
            raise refuse([RowError(1, "format_unknown", "The format is csv, tsv or jsonl.")])
        self.columns: list[str] = []
        self.mapping = mapping or ColumnMapping()
        self._file, self._asked, self._has_images = file, mapping, has_images

    def read(self) -> Iterator[tuple[int, Result]]:
        """Yield each line's number with its row or its errors; nothing follows what can't be read on from."""
        try:
            yield from self._read_objects() if self.format == JSONL else self._read_table()
        except _UnreadableError as error:
            yield error.fault.line, [error.fault]

    def _read_table(self) -> Iterator[tuple[int, Result]]:
        cells = self._open_table()
        try:
            header = [name.strip() for name in next(cells, [])]
            self.columns = [name[:MAX_COLUMN_LENGTH] for name in header[:MAX_COLUMNS]]
            self.mapping, errors = _complete_mapping(self._asked, header, has_images=self._has_images)
            if errors:
                yield 1, errors
                return
            line = cells.line_num + 1
            for values in cells:
                if any(value.strip() for value in values):
                    yield line, _make_from_cells(values, header, self.mapping, line)
                line = cells.line_num + 1
        except csv.Error as error:
            message = f"The line can't be read: {error}. A quote inside a quoted cell is written twice."
            yield cells.line_num, [RowError(cells.line_num, "quotes", message)]

    def _open_table(self) -> Any:
        if self.format == CSV:
            return _parse(self._read_lines(), ",")
        if _has_plain_quotes(self._read_lines()):
            return _parse(self._read_lines(), "\t")
        # Tabs need no quotes, so in many such files a quote is a letter like any other.
        return csv.reader(self._read_lines(), delimiter="\t", quoting=csv.QUOTE_NONE)

    def _read_objects(self) -> Iterator[tuple[int, Result]]:
        if self._asked and self._asked.has_images and not self._has_images:
            yield 1, [_NEEDS_IMAGES]
            return
        self.columns = []
        for line, text in enumerate(self._read_lines(splits_returns=False), start=1):
            if text.strip():
                found = _read_object(text, line)
                if isinstance(found, list):
                    yield line, found
                    continue
                self._note_columns(found)
                yield line, _make_from_object(found, self._asked, line, has_images=self._has_images)

    def _note_columns(self, found: Mapping[str, Any]) -> None:
        names = [name for name in found if name == make_storable(name)[:MAX_COLUMN_LENGTH]]
        new = [name for name in names if name not in self.columns][: MAX_COLUMNS - len(self.columns)]
        self.columns += new
        if new and not self._asked:
            self.mapping = _map_by_name(self.columns, has_images=self._has_images)

    def _read_lines(self, *, splits_returns: bool = True) -> Iterator[str]:
        """Yield the lines as text, from the first.

        Raises:
            _UnreadableError: A line is too long, or no text.
        """
        self._file.seek(0)
        number = 0
        while line := self._file.readline(MAX_LINE_BYTES + 1):
            number += 1
            text = _decode(line, number)
            parts = _LONE_RETURN.split(text) if splits_returns and "\r" in text else [text]
            number += len(parts) - 1
            yield from parts


class _UnreadableError(Exception):
    """Nothing can be read from this line on."""

    def __init__(self, line: int, code: str, message: str) -> None:
        self.fault = RowError(line, code, message)
        super().__init__(message)


def _decode(line: bytes, number: int) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise _UnreadableError(number, "line_too_long", "The line is too long.")
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        message = "This is not UTF-8. Save the file with the encoding UTF-8."
        raise _UnreadableError(number, "encoding", message) from None
    if "\x00" in text:
        raise _UnreadableError(number, "nul", "The file holds a NUL character.")
    return text


def _guess_format(file_name: str, file: BinaryIO) -> str:
    """Return the format that a file's ending or first line speaks for."""
    ending = file_name.rpartition(".")[2].lower()
    if ending in {TSV, "tab"}:
        return TSV
    if ending in {JSONL, "ndjson"}:
        return JSONL
    file.seek(0)
    first = file.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0]
    if first.startswith(b"{"):
        return JSONL
    return TSV if b"\t" in first else CSV


def _parse(lines: Iterable[str], delimiter: str) -> Any:
    # Strict: a quote that does not fit is an error with its line, not text that silently changes.
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _has_plain_quotes(lines: Iterable[str]) -> bool:
    """Return whether every quote that starts a cell of the table also ends it."""
    try:
        for _ in _parse(lines, "\t"):
            pass
    except csv.Error:
        return False
    return True


_NEEDS_IMAGES: Final = RowError(
    1, "images_missing", "Columns of images need a ZIP file that holds the images beside the table."
)


def _complete_mapping(
    mapping: ColumnMapping | None, header: list[str], *, has_images: bool
) -> tuple[ColumnMapping, list[RowError]]:
    """Return the mapping to read by, and what is wrong with it or the header."""
    problems = _list_header_faults(header)
    if not mapping:
        mapping = _map_by_name(header, has_images=has_images)
    elif mapping.has_images and not has_images:
        problems.append((_NEEDS_IMAGES.code, _NEEDS_IMAGES.message))
    variables = mapping.variables.values()
    named = (mapping.key, mapping.brief, *variables, *mapping.tags, *mapping.references, *mapping.masks)
    unknown = [column for column in named if column and column not in header]
    problems += [("column_unknown", f"There is no column “{column}”.") for column in unknown]
    for name in mapping.variables:
        if not VARIABLE_NAME.match(name):
            message = (
                f"“{name[:80]}” can't be the name of a variable: it may hold letters from a to z, digits"
                " and underscores. Rename the column, or map it to a variable."
            )
            problems.append(("variable_name", message))
    return mapping, [RowError(1, code, message) for code, message in problems]


def _list_header_faults(header: Sequence[str]) -> list[tuple[str, str]]:
    if not any(header):
        return [("header_missing", "The first line must name the columns.")]
    if len(header) > MAX_COLUMNS:
        return [("too_many_columns", f"There are more than {MAX_COLUMNS} columns.")]
    if any(len(name) > MAX_COLUMN_LENGTH for name in header):
        return [("column_too_long", f"A column's name has at most {MAX_COLUMN_LENGTH} characters.")]
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        return [("column_duplicate", f"The column “{twice}” stands twice in the header.")]
    return []


def _map_by_name(header: Sequence[str], *, has_images: bool) -> ColumnMapping:
    own = {name.lower(): name for name in header if name.lower() in OWN_COLUMNS}
    references = [name for name in header if has_images and name.lower() in REFERENCE_COLUMNS]
    masks = [name for name in header if has_images and name.lower() in MASK_COLUMNS]
    taken = {*own.values(), *references, *masks}
    return ColumnMapping(
        key=own.get("key", ""),
        brief=own.get("brief", ""),
        variables={name: name for name in header if name and name not in taken},
        tags=[own["tags"]] if "tags" in own else [],
        references=references,
        masks=masks,
    )


def _make_from_cells(cells: list[str], header: list[str], mapping: ColumnMapping, line: int) -> Result:
    if len(cells) > len(header):
        message = f"The line has {len(cells)} cells, the header {len(header)}."
        return [RowError(line, "too_many_cells", message)]
    values = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
    tags: list[str] = []
    for column in mapping.tags:
        tags += TAG_SEPARATOR.split(values[column]) if column.lower() == "tags" else [values[column]]
    row = ItemRow(
        key=values.get(mapping.key, "").strip(),
        brief=values.get(mapping.brief, "").strip(),
        variables={name: values[column].strip() for name, column in mapping.variables.items()},
        tags=clean_tags(tags),
        images=[
            *_name_images([values[column] for column in mapping.references], ImageRole.REFERENCE),
            *_name_images([values[column] for column in mapping.masks], ImageRole.MASK),
        ],
    )
    return check_row(row, line) or row


def _name_images(cells: Iterable[str], role: str) -> list[RowImage]:
    names = [name.strip() for cell in cells for name in cell.split(";")]
    return [RowImage(name, role) for name in names if name]


def _read_object(text: str, line: int) -> dict[str, Any] | list[RowError]:
    try:
        found = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_to_unique)
    except RecursionError:
        return [RowError(line, "json", "The object is nested too deeply.")]
    except json.JSONDecodeError as error:
        # The error's own words count lines within this one.
        place = min(error.pos, len(text.rstrip())) + 1
        return [RowError(line, "json", f"The line is no JSON: {error.msg}, at character {place}.")]
    except ValueError as error:
        return [RowError(line, "json", f"The line is no JSON: {error}.")]
    return found if isinstance(found, dict) else [RowError(line, "json", "The line is no JSON object.")]


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _to_unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return dict(pairs)


def _make_from_object(
    found: dict[str, Any], mapping: ColumnMapping | None, line: int, *, has_images: bool
) -> Result:
    by_name = mapping or _map_by_name(list(found), has_images=has_images)
    images: list[RowImage] = []
    for columns, role in ((by_name.references, ImageRole.REFERENCE), (by_name.masks, ImageRole.MASK)):
        for column in columns:
            # With a mapping the object stays whole: a column may serve for more than one thing.
            value = found.get(column) if mapping else found.pop(column)
            names = value if isinstance(value, list) else [value or ""]
            if not all(isinstance(name, str) for name in names):
                return [
                    RowError(line, "images", f"“{column}” must be the name of a file, or a list of them.")
                ]
            images += _name_images(names, role)
    row = make_row(_select(found, mapping) if mapping else found, line)
    if isinstance(row, list) or not images:
        return row
    row = replace(row, images=images)
    return check_row(row, line) or row


def _select(found: Mapping[str, Any], mapping: ColumnMapping) -> dict[str, Any]:
    return {
        "key": found.get(mapping.key, "") if mapping.key else "",
        "brief": found.get(mapping.brief, "") if mapping.brief else "",
        "variables": {name: found.get(column, "") for name, column in mapping.variables.items()},
        "tags": [found[column] for column in mapping.tags if found.get(column)],
    }
