"""A run's results side by side: a row for each case, a cell for each version, the repeats within it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from django.db.models import BooleanField, CharField, Func, Prefetch, QuerySet, Value

from generations.choices import Status
from generations.models import DatasetItem, Generation, OutputImage, Run

N_TAGS_OFFERED: Final = 200
FINGERPRINT_LENGTH: Final = 8
_GENERATION_FIELDS: Final = (
    "run_id",
    "prompt_version_id",
    "case_key",
    "repeat",
    "status",
    "error_code",
    "result_rating",
    "brief",
)
_OUTPUT_FIELDS: Final = (
    "generation_id",
    "position",
    "blind",
    "rating",
    "width_px",
    "height_px",
    "perceptual_hash",
    "is_near_duplicate",
    "near_duplicate_of_id",
)
_COUNT_TAGS: Final = {
    "postgresql": "SELECT tag, COUNT(*) FROM generations_datasetitem, jsonb_array_elements_text(tags) AS tag"
    " WHERE dataset_version_id = %s GROUP BY tag ORDER BY 2 DESC, 1 LIMIT %s",
    "sqlite": "SELECT each.value, COUNT(*) FROM generations_datasetitem, json_each(tags) AS each"
    " WHERE dataset_version_id = %s GROUP BY each.value ORDER BY 2 DESC, 1 LIMIT %s",
}


class HasTag(Func):
    """Whether a JSON list of texts, the first argument, holds the second."""

    function = "jsonb_exists"
    output_field = BooleanField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Look through the list, for which SQLite has no function."""
        template = "EXISTS (SELECT 1 FROM json_each(%(expressions)s))"
        return self.as_sql(
            compiler, connection, template=template, arg_joiner=") WHERE json_each.value = (", **context
        )


@dataclass(frozen=True, slots=True)
class GridRow:
    """One case with, for each version of the run in its order, the generations by repeat."""

    item_id: uuid.UUID | None
    position: int
    key: str
    brief: str
    tags: Sequence[str]
    version_ids: Sequence[uuid.UUID]
    cells: Sequence[Sequence[Generation]]

    @property
    def named_cells(self) -> list[dict[str, Any]]:
        """Return the cells with the versions they belong to."""
        pairs = zip(self.version_ids, self.cells, strict=True)
        return [{"prompt_version": version_id, "generations": cell} for version_id, cell in pairs]

    @property
    def fingerprint(self) -> str:
        """Changes whenever anything that the row shows does."""
        shown = [
            (
                str(generation.pk),
                generation.status,
                generation.error_code,
                str(generation.result_rating),
                [
                    (str(output.pk), bool(output.blind), bool(output.is_near_duplicate))
                    for output in generation.outputs.all()
                ],
            )
            for cell in self.cells
            for generation in cell
        ]
        return hashlib.sha256(repr(shown).encode()).hexdigest()[:FINGERPRINT_LENGTH]


def list_tags(run: Run) -> list[tuple[str, int]]:
    """Return the tags of the run's cases with how many have each, the commonest first; at most 200."""
    if run.dataset_version_id is None:
        return []
    version_id: Any = run.dataset_version_id
    with connection.cursor() as cursor:
        given = version_id if connection.vendor == "postgresql" else version_id.hex
        cursor.execute(_COUNT_TAGS[connection.vendor], [given, N_TAGS_OFFERED])
        return [(str(tag), n) for tag, n in cursor.fetchall()]


def list_cases(run: Run, *, tag: str = "", with_near_duplicates: bool = False) -> QuerySet[DatasetItem]:
    """Return the items that the run was launched over, in their order; none for a run without a dataset.

    Args:
        with_near_duplicates: Only those of which an image looks nearly the same as another of the run.
    """
    items = DatasetItem.objects.filter(dataset_version=run.dataset_version_id).order_by("position")
    if run.dataset_version_id is None:
        return items.none()
    if with_near_duplicates:
        items = items.filter(pk__in=list_near_duplicates(run).values("generation__dataset_item_id"))
    return items.filter(HasTag("tags", Value(tag, output_field=CharField()))) if tag else items


def list_near_duplicates(run: Run) -> QuerySet[OutputImage]:
    """Return the outputs that look nearly the same as another one of the run, which is not among them."""
    generations = Generation.objects.current().filter(run=run)
    return OutputImage.objects.filter(generation__in=generations, is_near_duplicate=True)


def load_rows(
    run: Run,
    items: Iterable[DatasetItem],
    *,
    version_ids: Sequence[uuid.UUID],
    repeat: int | None = None,
) -> list[GridRow]:
    """Return the rows of these items, in two queries; a run without a dataset has one row, its own case.

    Args:
        items: In the order of the rows; not looked at when the run has no dataset.
        version_ids: In the order of the cells.
        repeat: Only the generations of this repeat, from 0.
    """
    cases = [(item.pk, item.position, item.key, item.brief, item.tags) for item in items]
    if run.dataset_version_id is None:
        cases = [(None, 0, "", run.brief, [])]  # type: ignore[list-item] # a case that is no item has no id
    generations = _list_generations(run, [case[2] for case in cases], version_ids)
    if repeat is not None:
        generations = generations.filter(repeat=repeat)
    found: dict[tuple[str, uuid.UUID], list[Generation]] = {}
    briefs: dict[str, str] = {}
    for generation in generations:
        found.setdefault((generation.case_key, generation.prompt_version_id), []).append(generation)
        briefs.setdefault(generation.case_key, generation.brief)
    return [
        GridRow(
            item_id=item_id,
            position=position,
            key=key,
            brief=briefs.get(key, brief),
            tags=tags,
            version_ids=version_ids,
            cells=[found.get((key, version_id), []) for version_id in version_ids],
        )
        for item_id, position, key, brief, tags in cases
    ]


def _list_generations(
    run: Run, keys: Sequence[str], version_ids: Sequence[uuid.UUID]
) -> QuerySet[Generation]:
    """Return what the run made of these cases with these versions, by repeat, with its outputs."""
    outputs = OutputImage.objects.only(*_OUTPUT_FIELDS).order_by("position")
    of_cells = Generation.objects.current().filter(run=run, prompt_version__in=version_ids, case_key__in=keys)
    return (
        of_cells.only(*_GENERATION_FIELDS)
        .order_by("repeat", "id")
        .prefetch_related(Prefetch("outputs", outputs))
    )


def is_settled(rows: Iterable[GridRow]) -> bool:
    """Return whether nothing of the rows will change by itself any more, their copies included."""
    return all(
        generation.is_final
        and (generation.status != Status.COMPLETED or all(map(_is_settled, generation.outputs.all())))
        for row in rows
        for cell in row.cells
        for generation in cell
    )


def _is_settled(output: OutputImage) -> bool:
    is_awaited = output.perceptual_hash is not None and output.is_near_duplicate is None
    return bool(output.blind) and not is_awaited
