"""The dry run: read every row, check and store every image, and say what is wrong with which line."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from django.db import transaction
from django.db.models import F

from generations.image_files import discard, store_image
from generations.media.archives import ArchiveError, ImageArchive
from generations.media.errors import MediaError
from generations.models import DatasetImport, DatasetImportImage
from generations.services.dataset_files import Result
from generations.services.dataset_rows import (
    MAX_ERRORS,
    MAX_ROWS,
    ItemRow,
    KeyMaker,
    RowError,
)
from generations.services.importing.claims import Claim
from generations.services.importing.sources import Source

N_PREVIEWED: Final = 10
ROWS_BETWEEN_BEATS: Final = 5_000


@dataclass(slots=True)
class Findings:
    """What a pass over all rows found; of the rows themselves only the first few are kept."""

    n_rows: int = 0
    n_errors: int = 0
    errors: list[RowError] = field(default_factory=list)
    first_rows: list[ItemRow] = field(default_factory=list)
    lines_by_key: dict[str, int] = field(default_factory=dict)
    lines_by_image: dict[str, int] = field(default_factory=dict)

    def add_error(self, error: RowError) -> None:
        """Count an error, and keep it if it is among the first hundred."""
        self.n_errors += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(error)


def check(claim: Claim, dataset_import: DatasetImport, source: Source, *, deadline: float) -> bool:
    """Check an import, and return whether all of it is; what was done before the deadline stays done.

    Raises:
        ClaimLostError: It was cancelled, or another worker has taken it.
        OSError: The storage refused.
    """
    findings = _read_all(claim, source)
    if source.archive is not None:
        names = findings.lines_by_image
        refused = _list_refused(dataset_import)
        claim.write(n_images=len(names), n_images_done=len(refused.keys() & names.keys()))
        missing = [name for name in names if name not in refused]
        if not _store_images(claim, source.archive, missing, deadline=deadline):
            return False
        _add_image_errors(findings, _list_refused(dataset_import))
    claim.write(**_describe(findings, source))
    return True


def find_images(row: ItemRow, archive: ImageArchive) -> Iterator[tuple[str | None, str]]:
    """Yield the entry of each image that a row names, None for one that is not there, with its name."""
    for image in row.images:
        yield archive.find(image.name), image.name


def _read_all(claim: Claim, source: Source) -> Findings:
    findings = Findings()
    for line, result in source.rows.read():
        _note(findings, line, result, source.archive)
        if findings.n_rows > MAX_ROWS:
            message = f"A dataset has at most {MAX_ROWS:,} items."
            findings.add_error(RowError(line, "too_many_rows", message))
            break
        if findings.n_rows % ROWS_BETWEEN_BEATS == 0:
            claim.write(n_rows=findings.n_rows)
    if not findings.n_rows and not findings.n_errors:
        findings.add_error(RowError(1, "empty", "The file has no rows."))
    return findings


def _note(findings: Findings, line: int, result: Result, archive: ImageArchive | None) -> None:
    findings.n_rows += 1
    if isinstance(result, list):
        for error in result:
            findings.add_error(error)
        return
    if result.key and result.key in findings.lines_by_key:
        message = f"The key “{result.key}” stands on line {findings.lines_by_key[result.key]} too."
        findings.add_error(RowError(line, "key_duplicate", message))
    findings.lines_by_key.setdefault(result.key, line)
    if len(findings.first_rows) < N_PREVIEWED:
        findings.first_rows.append(result)
    for entry, name in find_images(result, archive) if archive else ():
        if entry is None:
            message = f"There is no image “{name[:200]}” in the ZIP file."
            findings.add_error(RowError(line, "image_missing", message))
        else:
            findings.lines_by_image.setdefault(entry, line)


def _list_refused(dataset_import: DatasetImport) -> dict[str, tuple[str, str]]:
    """Return why each image checked so far was refused, by name; two empty texts where it was not."""
    rows = dataset_import.images.values_list("name", "error_code", "error_message")
    return {name: (code, message) for name, code, message in rows}


def _store_images(claim: Claim, archive: ImageArchive, names: list[str], *, deadline: float) -> bool:
    """Check and store images one by one, each with its row; return whether all are done."""
    for n_done, name in enumerate(names):
        if n_done and time.monotonic() > deadline:
            return False
        try:
            stored = store_image(archive.read(name), folder="inputs")
        except (MediaError, ArchiveError) as error:
            refusal = {"error_code": error.code, "error_message": error.message}
            facts: Mapping[str, Any] = {"width_px": 0, "height_px": 0, "size_bytes": 0}
            _write_image(claim, name, {**facts, **refusal})
        else:
            try:
                _write_image(claim, name, stored.as_fields())
            except BaseException:
                discard([stored])
                raise
    return True


@transaction.atomic
def _write_image(claim: Claim, name: str, values: Mapping[str, Any]) -> None:
    claim.write(n_images_done=F("n_images_done") + 1)
    DatasetImportImage.objects.create(dataset_import_id=claim.import_id, name=name, **values)


def _add_image_errors(findings: Findings, refused: Mapping[str, tuple[str, str]]) -> None:
    for name, line in findings.lines_by_image.items():
        code, message = refused.get(name, ("", ""))
        if code:
            findings.add_error(RowError(line, code, f"“{name[:200]}”: {message}"))
    findings.errors.sort(key=lambda error: error.line)


def _describe(findings: Findings, source: Source) -> dict[str, Any]:
    make_key = KeyMaker(findings.lines_by_key)
    # Keys are made by place, so only rows that follow each other from the first are shown with theirs.
    first = [make_key.complete(row) if not findings.n_errors else row for row in findings.first_rows]
    return {
        "used_mapping": source.rows.mapping.to_json(),
        "columns": source.rows.columns,
        "preview": [_to_json(row) for row in first],
        "errors": [asdict(error) for error in findings.errors],
        "n_errors": findings.n_errors,
        "n_rows": findings.n_rows,
        "n_images": len(findings.lines_by_image),
        "n_images_done": len(findings.lines_by_image),
    }


def _to_json(row: ItemRow) -> dict[str, Any]:
    return {
        "key": row.key,
        "brief": row.brief,
        "variables": dict(row.variables),
        "tags": list(row.tags),
        "images": [{"name": image.name, "role": str(image.role)} for image in row.images],
    }
